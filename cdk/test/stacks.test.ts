import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { agree, byTable, forRole, policyOf } from './rights.ts';
import { exampleText, list, manyCells, resources, statementsOf, synthesized } from './synthesized.ts';
import type { Statement } from './synthesized.ts';

const stacks = synthesized(exampleText);
const stack = (name: string) => stacks.get(`wallet-${name}`)!;
const FIVE = ['control-plane', 'router', 'cell-1', 'cell-2', 'cell-3'];

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

describe('zones', () => {
  it.each(['control-plane', 'cell-1'])(
    'what comes to a zone of %s stays there, and the zone can be shifted away',
    (name) => {
      const [balancer, ...more] = resources(stack(name), 'AWS::ElasticLoadBalancingV2::LoadBalancer');
      expect(more).toEqual([]);
      expect(balancer!.Properties['LoadBalancerAttributes']).toEqual(
        expect.arrayContaining([
          { Key: 'load_balancing.cross_zone.enabled', Value: 'false' },
          { Key: 'zonal_shift.config.enabled', Value: 'true' },
          { Key: 'deletion_protection.enabled', Value: 'true' },
        ]),
      );
      expect(balancer!.Properties['Subnets']).toHaveLength(3);
      expect(balancer!.Properties['Scheme']).toBe('internal');
    },
  );

  it.each(FIVE)('the cluster of %s lets its nodes be shifted too', (name) => {
    const clusters = resources(stack(name), 'AWS::EKS::Cluster');
    expect(clusters.map(({ Properties }) => Properties['ZonalShiftConfig'])).toEqual([{ Enabled: true }]);
    expect(clusters[0]!.Properties['ComputeConfig'].Enabled).toBe(true);
  });

  it('clients find each zone under one name, while both of its checks are healthy', () => {
    const records = resources(stack('router'), 'AWS::Route53::RecordSet').filter(
      ({ Properties }) => Properties['Weight'] !== undefined,
    );
    expect(
      records.map(({ Properties }) => [Properties['Name'], Properties['SetIdentifier'], Properties['Weight']]),
    ).toEqual(['eu-west-1a', 'eu-west-1b', 'eu-west-1c'].map((zone) => ['wallet.example.com', zone, 100]));
    const checks = stack('router').template.findResources('AWS::Route53::HealthCheck');
    for (const { Properties } of records) {
      const both = checks[Properties['HealthCheckId']['Fn::GetAtt'][0]]!.Properties.HealthCheckConfig;
      expect([both.Type, both.HealthThreshold, both.ChildHealthChecks.length]).toEqual(['CALCULATED', 2, 2]);
      const children = both.ChildHealthChecks.map(
        (one: any) => checks[one['Fn::GetAtt'][0]]!.Properties.HealthCheckConfig,
      );
      expect(children.map((one: any) => one.Type).sort()).toEqual(['CALCULATED', 'HTTPS']);
      const wanted = children.find((one: any) => one.Type === 'CALCULATED');
      expect([wanted.HealthThreshold, wanted.Inverted]).toEqual([0, false]);
    }
    const outside = resources(stack('router'), 'AWS::ElasticLoadBalancingV2::LoadBalancer').filter(
      ({ Properties }) => Properties['Scheme'] === 'internet-facing',
    );
    expect(outside.map(({ Properties }) => Properties['Subnets'].length)).toEqual([1, 1, 1]);
  });

  it('a known cell can be reached in each zone by itself; an unknown one not at all yet', () => {
    const names = resources(stack('router'), 'AWS::Route53::RecordSet').map(
      ({ Properties }) => Properties['Name'] as string,
    );
    expect(names.filter((name) => name.endsWith('cell-1.wallet.internal.')).sort()).toEqual([
      'cell-1.wallet.internal.',
      'eu-west-1a.cell-1.wallet.internal.',
      'eu-west-1b.cell-1.wallet.internal.',
      'eu-west-1c.cell-1.wallet.internal.',
    ]);
    expect(names.some((name) => name.includes('cell-2'))).toBe(false);
  });

  it('the control plane reaches the admin port of the routers of each zone', () => {
    const names = resources(stack('control-plane'), 'AWS::Route53::RecordSet').map(
      ({ Properties }) => Properties['Name'],
    );
    for (const zone of ['eu-west-1a', 'eu-west-1b', 'eu-west-1c'])
      expect(names).toContain(`${zone}.router.wallet.internal.`);
    const internal = resources(stack('router'), 'AWS::ElasticLoadBalancingV2::Listener')
      .map(({ Properties }) => Properties['Port'])
      .filter((port) => port !== 443);
    expect(internal).toEqual([8081, 8082]);
    const [offered] = resources(stack('router'), 'AWS::EC2::VPCEndpointServicePermissions');
    expect(JSON.stringify(offered!.Properties['AllowedPrincipals'])).toContain('200000000000');
  });
});

/** What CloudFormation makes of it, for an endpoint that AWS has given these names. */
function evaluated(value: any): any {
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(evaluated);
  const [[name, given]] = Object.entries<any>(value) as [[string, any]];
  if (name === 'Fn::Join') return evaluated(given[1]).join(given[0]);
  if (name === 'Fn::Split') return evaluated(given[1]).split(given[0]);
  if (name === 'Fn::Select') return evaluated(given[1])[given[0]];
  if (name === 'Fn::GetAtt' && given[1] === 'DnsEntries') {
    return [
      'Z1:vpce-0a-xy.vpce-svc-9.eu-west-1.vpce.amazonaws.com',
      'Z1:vpce-0a-xy-eu-west-1b.vpce-svc-9.eu-west-1.vpce.amazonaws.com',
    ];
  }
  throw new Error(`no ${name} here`);
}

it('the address of a zone is the one that PrivateLink gives to it', () => {
  const record = resources(stack('router'), 'AWS::Route53::RecordSet').find(
    ({ Properties }) => Properties['Name'] === 'eu-west-1b.cell-1.wallet.internal.',
  )!;
  expect(evaluated(record.Properties['ResourceRecords'])).toEqual([
    'vpce-0a-xy-eu-west-1b.vpce-svc-9.eu-west-1.vpce.amazonaws.com',
  ]);
});

describe('alarms', () => {
  it.each(FIVE)('all of %s are in the one that pages and bakes', (name) => {
    const alarms = Object.keys(stack(name).template.findResources('AWS::CloudWatch::Alarm'));
    const [whole, ...more] = resources(stack(name), 'AWS::CloudWatch::CompositeAlarm');
    expect(more).toEqual([]);
    expect(whole!.Properties['AlarmName']).toBe(`${name}-unwell`);
    expect(whole!.Properties['AlarmActions']).toHaveLength(1);
    const rule = JSON.stringify(whole!.Properties['AlarmRule']);
    expect(alarms.filter((alarm) => !rule.includes(`"${alarm}"`))).toEqual([]);
    // By how their names begin, a bake finds them.
    for (const { Properties } of resources(stack(name), 'AWS::CloudWatch::Alarm'))
      expect(Properties['AlarmName']).toMatch(new RegExp(`^${name}-`));
  });

  it('have no data where a process that always reports is silent, so that no deploy passes', () => {
    const of = (name: string) =>
      resources(stack(name), 'AWS::CloudWatch::Alarm')
        .filter(({ Properties }) => Properties['TreatMissingData'] === 'missing')
        .map(({ Properties }) => Properties['AlarmName']);
    expect(of('cell-1')).toEqual(['cell-1-silent', 'cell-1-transfers-stuck', 'cell-1-transfers-late']);
    expect(of('router')).toEqual(['router-placement-old']);
  });

  it.each(FIVE)('those of %s may page: the topic takes nothing that its policy does not name', (name) => {
    const [policy] = resources(stack(name), 'AWS::SNS::TopicPolicy');
    const statements = policy!.Properties['PolicyDocument'].Statement as Statement[];
    const pages = statements.filter(({ Effect, Action }) => Effect === 'Allow' && Action === 'sns:Publish');
    expect(JSON.stringify(pages)).toContain('cloudwatch.amazonaws.com');
  });

  it('every table of a cell has its own for throttling, errors and latency', () => {
    const names = resources(stack('cell-1'), 'AWS::CloudWatch::Alarm').map(
      ({ Properties }) => Properties['AlarmName'] as string,
    );
    for (const table of ['ledger', 'snapshots', 'homes', 'owners']) {
      for (const what of ['throttled-reads', 'throttled-writes', 'system-errors', 'slow-Query', 'slow-PutItem']) {
        expect(names).toContain(`cell-1-${table}-${what}`);
      }
    }
  });

  it('those of the processes are of metrics that they have', () => {
    const folders = { cell: 'cell/src', router: 'router/src', 'control-plane': 'control-plane/src' };
    for (const [kind, folder] of Object.entries(folders)) {
      const text = sources(new URL(`../../${folder}/`, import.meta.url));
      const own = resources(stack(kind === 'cell' ? 'cell-1' : kind), 'AWS::CloudWatch::Alarm')
        .filter(({ Properties }) => Properties['Namespace'] === 'Wallet')
        .map(({ Properties }) => Properties['MetricName'] as string);
      expect(own.length).toBeGreaterThan(0);
      // That one is of every process (telemetry/src/process.rs).
      const named = own.filter((metric) => !metric.endsWith('_build_info'));
      expect(named.filter((metric) => !text.includes(`"${metric}"`))).toEqual([]);
    }
  });
});

describe('accounts', () => {
  it('each stack has its own', () => {
    expect([...stacks.values()].map(({ account }) => account)).toEqual([
      '400000000000',
      '200000000000',
      '100000000000',
      '300000000001',
      '300000000002',
      '300000000003',
    ]);
  });

  it("one more cell in the file is exactly one more stack, and no other cell's changes", () => {
    const added = synthesized(`${exampleText}\n[[cells]]\nid = "cell-4"\naccount = "300000000004"\n`);
    expect([...added.keys()].filter((name) => !stacks.has(name))).toEqual(['wallet-cell-4']);
    expect(added.size).toBe(stacks.size + 1);
    for (const cell of ['wallet-cell-1', 'wallet-cell-2', 'wallet-cell-3']) {
      expect(added.get(cell)!.template.toJSON()).toEqual(stacks.get(cell)!.template.toJSON());
    }
  });

  it.each([
    ['no [aws]', /\[aws\][^[]*/, ''],
    ['at least 2', /zones = .*/, "zones = ['eu-west-1a']"],
    ['is not of region', /region = .*/, 'region = "us-east-1"'],
    ['clusters are built in eu-west-1 alone', /max_tps = 5000/, "region = 'eu-central-1'"],
    ['part of names on AWS', /name = "wallet"/, 'name = "The Wallet"'],
    ['router is no cell id', /cell-3"/, 'router"'],
  ])('%s', (words, is, becomes) => {
    const text = exampleText.replace(/instances = \[\n[^\]]*\]/g, '');
    expect(() => synthesized(text.replace(is, becomes))).toThrow(words);
  });
});

it('a cell with processes for one role alone is refused: the rest of it would be done nowhere', () => {
  const address = '{ address = "eu-west-1a.cell-2.wallet.internal:8091",';
  const text = exampleText.replace(address, `${address} role = "accounts",`);
  expect(text).not.toBe(exampleText);
  expect(() => synthesized(text)).toThrow('cell-2: roles are split, so there has to be an instance');
});

describe('what settings.json says', () => {
  const without = synthesized(exampleText, { operators: undefined, cellBudgetUsd: undefined });
  const operators = (of: typeof stacks, name: string) =>
    resources(of.get(`wallet-${name}`)!, 'AWS::IAM::Role').filter(({ Properties }) =>
      /-operators$/.test(Properties['RoleName'] ?? ''),
    );

  it.each(FIVE)('operators administer the cluster of %s, and none does where none are named', (name) => {
    const [role, ...more] = operators(stacks, name);
    expect(more).toEqual([]);
    expect(role!.Properties['RoleName']).toBe(`wallet-${name}-operators`);
    expect(role!.Properties['AssumeRolePolicyDocument'].Statement[0].Condition).toEqual({
      ArnEquals: { 'aws:PrincipalArn': 'arn:aws:iam::200000000000:role/operators' },
    });
    const entries = (of: typeof stacks) => resources(of.get(`wallet-${name}`)!, 'AWS::EKS::AccessEntry');
    const own = entries(stacks).filter(({ Properties }) =>
      JSON.stringify(Properties['PrincipalArn']).includes('Operators'),
    );
    expect(own).toHaveLength(1);
    expect(JSON.stringify(own[0]!.Properties['AccessPolicies'])).toContain('AmazonEKSClusterAdminPolicy');
    expect([operators(without, name), entries(without).length]).toEqual([[], entries(stacks).length - 1]);
  });

  it('a cell has a budget, which pages; nothing else has one', () => {
    const [{ Properties }, ...more] = resources(stack('cell-1'), 'AWS::Budgets::Budget') as [any];
    expect(more).toEqual([]);
    expect(Properties.Budget).toMatchObject({
      BudgetName: 'wallet-cell-1',
      BudgetType: 'COST',
      TimeUnit: 'MONTHLY',
      BudgetLimit: { Amount: 3000, Unit: 'USD' },
    });
    const notified = Properties.NotificationsWithSubscribers.map((one: any) => one.Subscribers[0].SubscriptionType);
    expect(notified).toEqual(['SNS', 'SNS']);
    const policy = JSON.stringify(resources(stack('cell-1'), 'AWS::SNS::TopicPolicy'));
    expect(policy).toContain('budgets.amazonaws.com');
    const others = [...stacks].filter(([name]) => !name.startsWith('wallet-cell-'));
    for (const [name, one] of [...others, ['none', without.get('wallet-cell-1')!] as const])
      expect(resources(one, 'AWS::Budgets::Budget'), name).toEqual([]);
  });

  it('costs are kept apart by the tags of stacks', () => {
    expect([...stacks.values()].map(({ tags }) => tags)).toEqual(
      ['archive', ...FIVE].map((part) => ({ deployment: 'wallet', part })),
    );
  });

  it('a deployment that is too large is refused in words', () => {
    expect(() => synthesized(manyCells(70))).toThrow(/the policy of a bucket is \d+, and AWS takes 20480/);
  });

  it('a role with too long a name is refused in words, and the longest name is not', () => {
    const named = (length: number) =>
      manyCells(1)
        .replace('name = "wallet"', `name = "${'w'.repeat(24)}"`)
        .replaceAll('"cell-1"', `"${'c'.repeat(length)}"`);
    const refused = /a role would be called w{24}-c{30}-operators, with more than 64 characters: shorten the cell's id/;
    expect(() => synthesized(named(30))).toThrow(refused);
    expect(() => synthesized(named(29))).not.toThrow();
  });
});

function sources(folder: URL): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.rs'))
    .map((path) => readFileSync(new URL(path, folder), 'utf8'))
    .join('\n');
}
