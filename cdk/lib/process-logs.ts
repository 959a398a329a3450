/**
 * Where the logs of a stack's processes are kept: a group for each component, in the stack's own
 * account. What carries them there (kubernetes/lib/logs.ts) may add lines to these groups, and read
 * or delete none.
 */
import { RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Cluster } from './cluster.ts';
import { LOGS_NAMESPACE, LOG_CARRIER, logGroup, loggedComponents } from './names.ts';

/** Long enough to look into an incident of the last quarter. Books and archive are kept elsewhere. */
const RETENTION = RetentionDays.THREE_MONTHS;

export class ProcessLogs extends Construct {
  constructor(scope: Construct, id: string, stack: string, component: string, cluster: Cluster) {
    super(scope, id);
    const { account, region } = Stack.of(this);
    const names = loggedComponents(component).map((one) => logGroup(stack, one));
    const arns = names.map((name) => `arn:aws:logs:${region}:${account}:log-group:${name}`);
    const key = new Key(this, 'Key', { enableKeyRotation: true, description: `Encrypts the logs of ${stack}` });
    key.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal(`logs.${region}.amazonaws.com`)],
        actions: ['kms:Encrypt', 'kms:Decrypt', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:DescribeKey'],
        resources: ['*'],
        conditions: { ArnEquals: { 'kms:EncryptionContext:aws:logs:arn': arns } },
      }),
    );
    for (const logGroupName of names) {
      new LogGroup(this, logGroupName, {
        logGroupName,
        retention: RETENTION,
        encryptionKey: key,
        removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
      });
    }
    const resources = arns.map((arn) => `${arn}:*`);
    const adding = new PolicyStatement({ actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resources });
    const role = cluster.identity(LOG_CARRIER, [adding], { namespace: LOGS_NAMESPACE });
    for (const resource of resources) {
      Validations.of(role).acknowledge({
        id: `AwsSolutions-IAM5[Resource::${resource}]`,
        reason: 'Streams of the one group; there is one for each process.',
      });
    }
  }
}
