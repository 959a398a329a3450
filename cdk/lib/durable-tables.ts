/**
 * Tables that must not be lost, with money or ownership in them: on demand, with 35 days of
 * point-in-time recovery, protected against deletion, under a key of their own, kept when the stack
 * goes. It must never name an action that a caller did not ask for.
 */
import { ArnFormat, RemovalPolicy, Stack } from 'aws-cdk-lib';
import {
  AttributeType,
  Billing,
  ProjectionType,
  StreamViewType,
  TableEncryptionV2,
  TableV2,
} from 'aws-cdk-lib/aws-dynamodb';
import type { GlobalSecondaryIndexPropsV2 } from 'aws-cdk-lib/aws-dynamodb';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Construct } from 'constructs';
import type { Index, Key as KeyAttribute, TableShape } from './table-shapes.ts';

const RECOVERY_DAYS = 35;

/** What DynamoDB does with a key, in the name of its caller. */
export const KEY_USES = [
  'kms:Decrypt',
  'kms:DescribeKey',
  'kms:Encrypt',
  'kms:GenerateDataKey',
  'kms:ReEncryptFrom',
  'kms:ReEncryptTo',
] as const;

const attribute = ([name, kind]: KeyAttribute) => ({
  name,
  type: kind === 'S' ? AttributeType.STRING : AttributeType.NUMBER,
});

const index = ({ name, partition, sort, projection }: Index): GlobalSecondaryIndexPropsV2 => ({
  indexName: name,
  partitionKey: attribute(partition),
  sortKey: attribute(sort),
  projectionType: projection === 'ALL' ? ProjectionType.ALL : ProjectionType.KEYS_ONLY,
});

/** What may be done to one table and, if asked for, to its index and its change stream. */
export interface Use {
  readonly table: string;
  readonly actions: readonly string[];
  readonly indexActions?: readonly string[];
  readonly streamActions?: readonly string[];
}

export class DurableTables extends Construct {
  readonly key: Key;
  readonly tables = new Map<string, TableV2>();

  constructor(
    scope: Construct,
    id: string,
    private readonly shapes: readonly TableShape[],
    private readonly prefix: string,
    /** Another Region, to which each item is copied some time later; its key has this alias there. */
    copies?: { readonly region: string; readonly alias: string },
  ) {
    super(scope, id);
    const { account } = Stack.of(this);
    const keys = copies && { [copies.region]: `arn:aws:kms:${copies.region}:${account}:${copies.alias}` };
    this.key = new Key(this, 'Key', {
      alias: `alias/${prefix}tables`,
      description: `Encrypts the tables ${prefix}*`,
      enableKeyRotation: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    for (const shape of shapes) {
      this.tables.set(
        shape.name,
        new TableV2(this, shape.name, {
          tableName: prefix + shape.name,
          partitionKey: attribute(shape.partition),
          sortKey: shape.sort && attribute(shape.sort),
          globalSecondaryIndexes: shape.index && [index(shape.index)],
          ...(shape.isFollowed && { dynamoStream: StreamViewType.NEW_IMAGE }),
          billing: Billing.onDemand(),
          encryption: TableEncryptionV2.customerManagedKey(this.key, keys),
          pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true, recoveryPeriodInDays: RECOVERY_DAYS },
          deletionProtection: true,
          removalPolicy: RemovalPolicy.RETAIN,
          ...(copies && { replicas: [{ region: copies.region }] }),
        }),
      );
    }
  }

  /** Statements for exactly these uses, and for the key they need; no wildcard among actions or resources. */
  statements(uses: readonly Use[]): PolicyStatement[] {
    const made = uses.flatMap(({ table, actions, indexActions, streamActions }) => {
      const statements = [new PolicyStatement({ actions: [...actions], resources: [this.arn(table)] })];
      if (indexActions) {
        statements.push(new PolicyStatement({ actions: [...indexActions], resources: [this.indexArn(table)] }));
      }
      if (streamActions) {
        statements.push(new PolicyStatement({ actions: [...streamActions], resources: [this.streamArn(table)] }));
      }
      return statements;
    });
    const { region } = Stack.of(this);
    made.push(
      new PolicyStatement({
        actions: [...KEY_USES],
        resources: [this.key.keyArn],
        conditions: { StringEquals: { 'kms:ViaService': `dynamodb.${region}.amazonaws.com` } },
      }),
    );
    return made;
  }

  private arn(table: string): string {
    if (!this.tables.has(table)) throw new Error(`no table ${table}`);
    return Stack.of(this).formatArn({ service: 'dynamodb', resource: 'table', resourceName: this.prefix + table });
  }

  /** Its name is given when the table is made; a new stream of the same table has another. */
  private streamArn(table: string): string {
    const arn = this.tables.get(table)?.tableStreamArn;
    if (!arn) throw new Error(`table ${table} has no stream`);
    return arn;
  }

  private indexArn(table: string): string {
    const shape = this.shapes.find((one) => one.name === table);
    if (!shape?.index) throw new Error(`table ${table} has no index`);
    const resourceName = `${this.prefix}${table}/index/${shape.index.name}`;
    return Stack.of(this).formatArn({
      service: 'dynamodb',
      resource: 'table',
      resourceName,
      arnFormat: ArnFormat.SLASH_RESOURCE_NAME,
    });
  }
}
