import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CELL_TABLES, CONTROL_PLANE_TABLES } from '../lib/table-shapes.ts';
import type { TableShape } from '../lib/table-shapes.ts';
import { exampleText, resources, synthesized } from './synthesized.ts';

const source = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** The tables of a cell as the Rust code has them. */
function inLedger(): TableShape[] {
  const text = source('store/src/dynamodb/tables.rs');
  const followed = /const FOLLOWED: &str = "(\w+)";/.exec(text)![1];
  const constants = Object.fromEntries(
    [...text.matchAll(/pub const (\w+): &str = "(\w+)";/g)].map((m) => [m[1], m[2]]),
  );
  const key = (written: string) =>
    /\("(\w+)", ([SN])\)/.exec(written)!.slice(1, 3) as unknown as readonly [string, 'S' | 'N'];
  return [...text.matchAll(/Table \{\s*name: "(\w+)",([^}]*)\}/g)].map(([, name, rest]) => {
    const index = /index: Some\(\((\w+), (\("\w+", [SN]\)), (\("\w+", [SN]\)), ProjectionType::(\w+)\)\)/.exec(rest!);
    const sort = /sort: Some\((\("\w+", [SN]\))\)/.exec(rest!);
    return {
      name: name!,
      partition: key(/partition: (\("\w+", [SN]\))/.exec(rest!)![1]!),
      ...(sort && { sort: key(sort[1]!) }),
      ...(index && {
        index: {
          name: constants[index[1]!]!,
          partition: key(index[2]!),
          sort: key(index[3]!),
          projection: index[4] === 'KeysOnly' ? ('KEYS_ONLY' as const) : ('ALL' as const),
        },
      }),
      ...(name === followed && { isFollowed: true as const }),
    };
  });
}

/** Those of the control plane: its partition keys are text, its sort keys numbers. */
function inControlPlane(): TableShape[] {
  const listed = JSON.parse(source('control-plane/fixtures/tables.json')) as { [key: string]: string | null }[];
  return listed.map(({ name, partition, sort }) => ({
    name: name!,
    partition: [partition!, 'S'],
    ...(sort && { sort: [sort, 'N'] as const }),
  }));
}

it('the shapes are those of the processes', () => {
  expect(inLedger()).toEqual(CELL_TABLES);
  expect(inControlPlane()).toEqual(CONTROL_PLANE_TABLES);
});

describe('in the templates', () => {
  const stacks = synthesized(exampleText);
  const made = (stack: string) =>
    Object.fromEntries(
      resources(stacks.get(stack)!, 'AWS::DynamoDB::GlobalTable').map((table) => [
        table.Properties['TableName'] as string,
        table,
      ]),
    );

  it('a cell has its four, key for key', () => {
    const tables = made('wallet-cell-2');
    expect(Object.keys(tables).sort()).toEqual(['cell-2-homes', 'cell-2-ledger', 'cell-2-owners', 'cell-2-snapshots']);
    const ledger = tables['cell-2-ledger']!.Properties;
    expect(ledger['KeySchema']).toEqual([
      { AttributeName: 'w', KeyType: 'HASH' },
      { AttributeName: 'n', KeyType: 'RANGE' },
    ]);
    expect(ledger['AttributeDefinitions']).toEqual(
      expect.arrayContaining([
        { AttributeName: 'w', AttributeType: 'S' },
        { AttributeName: 'n', AttributeType: 'N' },
        { AttributeName: 'k', AttributeType: 'S' },
      ]),
    );
    expect(ledger['GlobalSecondaryIndexes']).toEqual([
      {
        IndexName: 'buckets',
        KeySchema: [
          { AttributeName: 'k', KeyType: 'HASH' },
          { AttributeName: 'w', KeyType: 'RANGE' },
        ],
        Projection: { ProjectionType: 'KEYS_ONLY' },
      },
    ]);
    const streams = Object.entries(tables).map(([name, table]) => [name, table.Properties['StreamSpecification']]);
    expect(streams.filter(([, stream]) => stream)).toEqual([['cell-2-ledger', { StreamViewType: 'NEW_IMAGE' }]]);
    expect(tables['cell-2-homes']!.Properties['KeySchema']).toEqual([{ AttributeName: 'k', KeyType: 'HASH' }]);
  });

  it.each([
    ['wallet-cell-1', true],
    ['wallet-control-plane', false],
  ])('%s can reach the change streams: %s', (stack, can) => {
    const endpoints = resources(stacks.get(stack)!, 'AWS::EC2::VPCEndpoint');
    const named = endpoints.filter(({ Properties }) =>
      JSON.stringify(Properties['ServiceName']).includes('dynamodb-streams'),
    );
    expect(named).toHaveLength(can ? 1 : 0);
  });

  it('the control plane has its own, under the prefix that it takes by default', () => {
    expect(source('control-plane/src/main.rs')).toContain('default_value = "control-"');
    expect(Object.keys(made('wallet-control-plane')).sort()).toEqual([
      'control-cells',
      'control-checkpoints',
      'control-deploys',
      'control-operations',
      'control-placement',
    ]);
  });

  it.each(['wallet-cell-1', 'wallet-control-plane'])('none of %s can be lost', (stack) => {
    for (const [name, { Properties, DeletionPolicy }] of Object.entries(made(stack))) {
      expect(DeletionPolicy, name).toBe('Retain');
      expect(Properties['BillingMode'], name).toBe('PAY_PER_REQUEST');
      expect(Properties['SSESpecification'], name).toEqual({ SSEEnabled: true, SSEType: 'KMS' });
      const [replica, ...more] = Properties['Replicas'];
      expect(more, name).toEqual([]);
      expect(replica.DeletionProtectionEnabled, name).toBe(true);
      expect(replica.PointInTimeRecoverySpecification, name).toEqual({
        PointInTimeRecoveryEnabled: true,
        RecoveryPeriodInDays: 35,
      });
      expect(replica.SSESpecification.KMSMasterKeyId, name).toHaveProperty('Fn::GetAtt');
    }
    const keys = resources(stacks.get(stack)!, 'AWS::KMS::Key');
    expect(keys.every((key) => key.Properties['EnableKeyRotation'] === true)).toBe(true);
  });
});
