/**
 * Tables of home in the second Region, which DynamoDB keeps up by itself, item by item and some
 * time later. The stack at home makes them; here are the rights to them. Their key is known by its
 * alias (copies-stack.ts), so that no stack waits for another's.
 */
import { Stack, Validations } from 'aws-cdk-lib';
import { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Role } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { KEY_USES } from './durable-tables.ts';
import type { Use } from './durable-tables.ts';
import { COPIES_KEY } from './names.ts';
import type { TableShape } from './table-shapes.ts';

export class CopiedTables extends Construct {
  readonly tables: ReadonlyMap<string, ITable>;

  constructor(
    scope: Construct,
    id: string,
    shapes: readonly TableShape[],
    private readonly prefix: string,
  ) {
    super(scope, id);
    this.tables = new Map(shapes.map(({ name }) => [name, TableV2.fromTableName(this, name, prefix + name)]));
  }

  /** As `DurableTables` makes them, for uses of the tables alone. */
  statements(uses: readonly Use[]): PolicyStatement[] {
    const { region } = Stack.of(this);
    const made = uses.map(({ table, actions }) => {
      if (!this.tables.has(table)) throw new Error(`no table ${table}`);
      const resource = Stack.of(this).formatArn({
        service: 'dynamodb',
        resource: 'table',
        resourceName: this.prefix + table,
      });
      return new PolicyStatement({ actions: [...actions], resources: [resource] });
    });
    const through = { 'kms:ViaService': `dynamodb.${region}.amazonaws.com` };
    made.push(
      new PolicyStatement({
        actions: [...KEY_USES],
        resources: [this.anyKey],
        conditions: { StringEquals: through, 'ForAnyValue:StringEquals': { 'kms:ResourceAliases': COPIES_KEY } },
      }),
    );
    return made;
  }

  acknowledge(role: Role): void {
    Validations.of(role).acknowledge({
      id: `AwsSolutions-IAM5[Resource::${this.anyKey}]`,
      reason: 'The one key with this alias, by a condition; it is made by another stack, under an id of its own.',
    });
  }

  private get anyKey(): string {
    const { account, region } = Stack.of(this);
    return `arn:aws:kms:${region}:${account}:key/*`;
  }
}
