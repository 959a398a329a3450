import com.amazonaws.services.dynamodbv2.local.main.ServerRunner;
import com.amazonaws.services.dynamodbv2.local.server.AbstractLocalDynamoDBServerHandler;
import com.amazonaws.services.dynamodbv2.local.server.DynamoDBProxyServer;
import com.amazonaws.services.dynamodbv2.local.server.LocalDynamoDBRequestHandler;
import java.lang.reflect.Field;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;

/**
 * DynamoDB Local, listening on the loopback interface only: it has no option for that and would take all of them. An item
 * put into the table [TEST_CONTROL] makes the shards of all streams end and others follow (ACTION = ROLLOVER), or makes
 * all that was written so much older (ACTION = DILATE_TIME, HOURS): it knows these, and has no option for them either.
 */
public final class Loopback {
    public static void main(String[] args) throws Exception {
        DynamoDBProxyServer proxy = ServerRunner.createServerFromCommandLineArgs(args);
        var server = (Server) field(DynamoDBProxyServer.class, "server").get(proxy);
        for (Connector connector : server.getConnectors()) {
            ((ServerConnector) connector).setHost("127.0.0.1");
        }
        var handler = field(DynamoDBProxyServer.class, "serverHandler").get(proxy);
        var requests = field(AbstractLocalDynamoDBServerHandler.class, "primaryHandler").get(handler);
        field(LocalDynamoDBRequestHandler.class, "isTestControlEnabled").set(requests, true);
        proxy.start();
        proxy.join();
    }

    private static Field field(Class<?> of, String name) throws NoSuchFieldException {
        var field = of.getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }
}
