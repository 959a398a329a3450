import { describe, expect, it } from 'vitest';
import { agree, byTable, forRole, policyOf } from './rights.ts';
import { FIVE, exampleText, list, resources, statementsOf, synthesized } from './synthesized.ts';

const stacks = synthesized(exampleText);
const stack = (name: string) => stacks.get(`wallet-${name}`)!;

const onTables = (name: string, role: RegExp) => byTable(statementsOf(stack(name), role));

describe('who may do what', () => {
  it('a cell may use its own tables, and delete no block', () => {
    expect(onTables('cell-1', /wallet\/cell in/)).toEqual({
      'cell-1-ledger': ['ConditionCheckItem', 'DescribeTable', 'GetItem', 'PutItem', 'Query'],
      'cell-1-ledger/index/buckets': ['Query'],
      'the stream of ledger': ['DescribeStream', 'GetRecords', 'GetShardIterator'],
      'cell-1-snapshots': ['ConditionCheckItem', 'DescribeTable', 'GetItem', 'PutItem', 'Query'],
      'cell-1-homes': ['BatchGetItem', 'ConditionCheckItem', 'DescribeTable', 'GetItem', 'PutItem', 'Query'],
      'cell-1-owners': ['DescribeTable', 'GetItem', 'PutItem'],
    });
  });

  it('of keys, both may use only that of the tables, and only through DynamoDB', () => {
    for (const role of [/wallet\/cell in/, /"wallet-cell-1-tables"/]) {
      const keys = statementsOf(stack('cell-1'), role).filter(({ Action }) => JSON.stringify(Action).includes('kms:'));
      expect(keys.map(({ Resource }) => JSON.stringify(Resource))).toEqual([expect.stringMatching(/"TablesKey/)]);
      expect(keys[0]!.Condition).toEqual({ StringEquals: { 'kms:ViaService': 'dynamodb.eu-west-1.amazonaws.com' } });
    }
  });

  it("the control plane may work on a cell's four tables", () => {
    const uses = onTables('cell-3', /"wallet-cell-3-tables"/);
    expect(Object.keys(uses).sort()).toEqual([
      'cell-3-homes',
      'cell-3-ledger',
      'cell-3-ledger/index/buckets',
      'cell-3-owners',
      'cell-3-snapshots',
      'the stream of ledger',
    ]);
    expect(uses['the stream of ledger']).toEqual(['DescribeStream']);
    expect(uses['cell-3-ledger']).toContain('DeleteItem');
    expect(uses['cell-3-homes']).not.toContain('DeleteItem');
  });

  it('by name, only the control plane becomes it', () => {
    const role = resources(stack('cell-3'), 'AWS::IAM::Role').find(
      ({ Properties }) => Properties['RoleName'] === 'wallet-cell-3-tables',
    )!;
    const [trust] = role.Properties['AssumeRolePolicyDocument'].Statement;
    expect(JSON.stringify(trust.Principal)).toContain('200000000000');
    expect(trust.Condition).toEqual({
      ArnEquals: { 'aws:PrincipalArn': 'arn:aws:iam::200000000000:role/wallet-control-plane' },
    });
    const names = resources(stack('control-plane'), 'AWS::IAM::Role').map(({ Properties }) => Properties['RoleName']);
    expect(names).toContain('wallet-control-plane');
  });

  it('the control plane may become exactly those, and the one that leaves a zone', () => {
    const assumed = statementsOf(stack('control-plane'), /"wallet-control-plane"/).filter(
      ({ Action }) => Action === 'sts:AssumeRole',
    );
    expect(assumed.flatMap(({ Resource }) => list(Resource))).toEqual([
      'arn:aws:iam::300000000001:role/wallet-cell-1-tables',
      'arn:aws:iam::300000000001:role/wallet-cell-1-versions',
      'arn:aws:iam::300000000002:role/wallet-cell-2-tables',
      'arn:aws:iam::300000000002:role/wallet-cell-2-versions',
      'arn:aws:iam::300000000003:role/wallet-cell-3-tables',
      'arn:aws:iam::300000000003:role/wallet-cell-3-versions',
      'arn:aws:iam::100000000000:role/wallet-zones',
      'arn:aws:iam::100000000000:role/wallet-router-versions',
    ]);
  });

  it.each(FIVE)('the control plane may enter the cluster of %s only to bring versions', (name) => {
    const entries = resources(stack(name), 'AWS::EKS::AccessEntry').map(({ Properties }) => Properties);
    const grouped = entries.filter((one) => one['KubernetesGroups'] !== undefined);
    const made = Object.entries(stack(name).template.findResources('AWS::IAM::Role')).filter(
      ([, { Properties }]) => Properties.RoleName === `wallet-${name}-versions`,
    );
    if (name === 'control-plane') return expect([grouped, made]).toEqual([[], []]);
    const [[id, { Properties: role }], ...more] = made as [[string, any]];
    expect(more).toEqual([]);
    expect(grouped).toEqual([
      {
        ClusterName: `wallet-${name}`,
        KubernetesGroups: ['wallet-versions'],
        PrincipalArn: { 'Fn::GetAtt': [id, 'Arn'] },
      },
    ]);
    expect(role.AssumeRolePolicyDocument.Statement[0].Condition).toEqual({
      ArnEquals: { 'aws:PrincipalArn': 'arn:aws:iam::200000000000:role/wallet-control-plane' },
    });
    // The group is all that it is: AWS itself lets it do nothing.
    expect([role.Policies, role.ManagedPolicyArns]).toEqual([undefined, undefined]);
  });

  it('who leaves a zone may flip switches and set this one name, and nothing else', () => {
    const statements = statementsOf(stack('router'), /"wallet-zones"/);
    expect(statements.flatMap(({ Action }) => list(Action))).toEqual([
      'route53:GetHealthCheck',
      'route53:UpdateHealthCheck',
      'route53:ListResourceRecordSets',
      'route53:ChangeResourceRecordSets',
    ]);
    expect(list(statements[0]!.Resource)).toHaveLength(3);
    expect(JSON.stringify(statements[0]!.Resource)).toMatch(/Wanted/);
    expect(statements[2]!.Condition!['ForAllValues:StringEquals']).toEqual({
      'route53:ChangeResourceRecordSetsNormalizedRecordNames': ['wallet.example.com'],
      'route53:ChangeResourceRecordSetsRecordTypes': ['A'],
      'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
    });
  });

  it.each(FIVE)(
    'no role of ours in %s has a wildcard but for alarms, spans, its own logs and what it may archive or read',
    (name) => {
      for (const { Properties } of resources(stack(name), 'AWS::IAM::Role')) {
        for (const { PolicyDocument } of Properties['Policies'] ?? []) {
          for (const { Action, Resource } of PolicyDocument.Statement) {
            expect(list(Action).filter((action) => String(action).includes('*'))).toEqual([]);
            // These take no resource: one reads alarms, one writes spans.
            if (/^(cloudwatch:DescribeAlarms|xray:PutTraceSegments)$/.test(String(Action))) continue;
            const wild = list(Resource)
              .map((one) => JSON.stringify(one))
              .filter((one) => one.includes('*'));
            const archived = name === 'control-plane' ? '' : `/${name}`;
            const own = [
              `log-group:/wallet/${name}/`,
              `wallet-archive-400000000000${archived}/`,
              `-owners${archived}/`,
            ];
            if (String(Action) === 's3:GetObject') own.push('wallet-archive-400000000000/packs/');
            expect(wild.filter((one) => !own.some((part) => one.includes(part)))).toEqual([]);
          }
        }
      }
    },
  );
});

describe('the archive', () => {
  const archive = stack('archive');
  const [segments, owners] = resources(archive, 'AWS::S3::Bucket').map(({ Properties }) => Properties);
  const statements = policyOf(archive);
  const of = (role: string) => forRole(statements, role);

  it('is in an account of its own, and locked for as long as cells.toml says', () => {
    expect(archive.account).toBe('400000000000');
    expect(segments!['BucketName']).toBe('wallet-archive-400000000000');
    expect(segments!['ObjectLockConfiguration']).toEqual({
      ObjectLockEnabled: 'Enabled',
      Rule: { DefaultRetention: { Days: 4026, Mode: 'COMPLIANCE' } },
    });
  });

  it('keeps no version of an owner, so that one that is erased is gone', () => {
    expect(owners!['BucketName']).toBe('wallet-archive-400000000000-owners');
    expect(owners!['VersioningConfiguration']).toBeUndefined();
    expect(owners!['ObjectLockConfiguration']).toBeUndefined();
  });

  it('takes from each cell what is its own, and lets no process delete a segment', () => {
    const uses = of('wallet-cell-2-cell');
    expect(uses.flatMap(({ Resource }) => list(Resource))).toEqual([
      'arn:aws:s3:::wallet-archive-400000000000/cell-2/*',
      'arn:aws:s3:::wallet-archive-400000000000-owners/cell-2/owners/*',
    ]);
    const deleting = statements.filter(({ Effect, Action }) => Effect === 'Allow' && /Delete/.test(String(Action)));
    expect(deleting.flatMap(({ Resource }) => list(Resource))).toEqual(
      ['cell-1', 'cell-2', 'cell-3'].map((id) => `arn:aws:s3:::wallet-archive-400000000000-owners/${id}/owners/*`),
    );
  });

  it('takes from the control plane objects that are not there yet, and nothing else', () => {
    const writing = of('wallet-control-plane').filter(
      ({ Action }) => !/^s3:(GetObject|ListBucket)$/.test(String(Action)),
    );
    expect(writing.map(({ Action, Resource }) => [Action, Resource])).toEqual([
      [
        's3:PutObject',
        ['*/log', '*/segments', 'packs'].map((folder) => `arn:aws:s3:::wallet-archive-400000000000/${folder}/*`),
      ],
    ]);
    expect(writing[0]!.Condition!['Null']).toEqual({ 's3:if-none-match': 'false' });
  });

  it('admits the roles that the stacks make, for what these may do', () => {
    agree(stacks, 'cell-1', 'wallet-cell-1-cell');
    agree(stacks, 'control-plane', 'wallet-control-plane');
  });
});
