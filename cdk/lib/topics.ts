/**
 * What a stack says to its operators: a topic for what wakes one of them, and one for what can
 * wait. Nothing but the stack's own Alertmanager and named services of AWS may publish there. The
 * network stays closed: SNS, not a process of ours, calls what has subscribed.
 */
import { Stack } from 'aws-cdk-lib';
import { InterfaceVpcEndpointAwsService } from 'aws-cdk-lib/aws-ec2';
import { AnyPrincipal, Effect, PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Subscription, SubscriptionProtocol, Topic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import type { Cluster } from './cluster.ts';
import type { Alerts } from './deployment-config.ts';
import { MONITORING, URGENCIES, topicName } from './names.ts';
import type { Urgency } from './names.ts';
import type { Network } from './network/network.ts';

const PROTOCOLS = { https: SubscriptionProtocol.HTTPS, email: SubscriptionProtocol.EMAIL };

export class Topics extends Construct {
  private readonly key: Key;
  private readonly topics = new Map<Urgency, Topic>();

  /** Without `alerts`, nothing subscribes yet. */
  constructor(
    scope: Construct,
    id: string,
    stack: string,
    alerts: Alerts | undefined,
    urgencies: readonly Urgency[] = URGENCIES,
  ) {
    super(scope, id);
    this.key = new Key(this, 'Key', { enableKeyRotation: true, description: `Encrypts the alerts of ${stack}` });
    for (const urgency of urgencies) {
      const topic = new Topic(this, urgency, {
        topicName: topicName(stack, urgency),
        masterKey: this.key,
        enforceSSL: true,
      });
      this.topics.set(urgency, topic);
      if (alerts === undefined) continue;
      const { protocol, endpoint } = alerts[urgency];
      new Subscription(this, `${urgency}-subscriber`, { topic, protocol: PROTOCOLS[protocol], endpoint });
    }
  }

  of(urgency: Urgency): Topic {
    const topic = this.topics.get(urgency);
    if (topic === undefined) throw new Error(`no topic for a ${urgency}`);
    return topic;
  }

  /**
   * The topic by which a service of AWS pages: with a policy of its own, a topic takes nothing that
   * this does not name.
   */
  pagedBy(service: string): Topic {
    const principal = new ServicePrincipal(service);
    const topic = this.of('page');
    this.key.grantEncryptDecrypt(principal);
    topic.addToResourcePolicy(
      new PolicyStatement({
        principals: [principal],
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
    );
    return topic;
  }

  /** Lets the Alertmanager of this cluster publish, and the network through which it does carry nothing else. */
  publishedFrom(network: Network, cluster: Cluster): void {
    const resources = [...this.topics.values()].map(({ topicArn }) => topicArn);
    const publish = { actions: ['sns:Publish'], resources };
    const role = cluster.identity(MONITORING, [
      new PolicyStatement(publish),
      new PolicyStatement({
        actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
        resources: [this.key.keyArn],
        conditions: { StringEquals: { 'kms:ViaService': `sns.${Stack.of(this).region}.amazonaws.com` } },
      }),
    ]);
    for (const topic of this.topics.values()) {
      const published = { actions: ['sns:Publish'], resources: [topic.topicArn] };
      topic.addToResourcePolicy(new PolicyStatement({ ...published, principals: [role] }));
      // A right to publish that another role of this account is given later does not suffice.
      topic.addToResourcePolicy(
        new PolicyStatement({
          ...published,
          effect: Effect.DENY,
          principals: [new AnyPrincipal()],
          conditions: {
            ArnNotEquals: { 'aws:PrincipalArn': role.roleArn },
            Bool: { 'aws:PrincipalIsAWSService': 'false' },
          },
        }),
      );
    }
    network.reach('Alerts', InterfaceVpcEndpointAwsService.SNS, { ...publish, role });
  }
}
