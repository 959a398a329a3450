import { describe, expect, it } from 'vitest';
import { agree, byTable } from './rights.ts';
import { example, exampleText, resources, services, statementsOf, synthesized, twoRegionsText } from './synthesized.ts';
import type { Statement, Synthesized } from './synthesized.ts';

const stacks = synthesized(exampleText);

describe('a cell with a standby', () => {
  const routers = {
    router: 'com.amazonaws.vpce.eu-west-1.vpce-svc-1',
    'router-eu-central-1': 'com.amazonaws.vpce.eu-central-1.vpce-svc-2',
  };
  const both = synthesized(twoRegionsText, { privateServices: routers });
  const [home, second] = [both.get('wallet-cell-1')!, both.get('wallet-cell-1-eu-central-1')!];

  it('is one more stack of the cell, in its account, and one of all that cells share there', () => {
    expect([...both.keys()].filter((name) => !stacks.has(name))).toEqual([
      'wallet-copies-eu-central-1',
      'wallet-control-plane-eu-central-1',
      'wallet-router-eu-central-1',
      'wallet-cell-1-eu-central-1',
    ]);
    expect([second.account, second.region]).toEqual([home.account, 'eu-central-1']);
    expect(second.tags).toEqual(home.tags);
  });

  it('has all there that it has at home, but its budget, which is of the account', () => {
    const kinds = (of: Synthesized) => {
      const all = Object.values(of.template.toJSON()['Resources'] as Record<string, { Type: string }>);
      return all.map(({ Type }) => Type).sort();
    };
    const more = ['AWS::Budgets::Budget', 'AWS::IAM::Policy', 'AWS::IAM::Role'];
    // The control plane has one role for the tables of both Regions: there it is made, here added to.
    expect(kinds(second).filter((kind) => !more.includes(kind))).toEqual(
      kinds(home).filter((kind) => !more.includes(kind)),
    );
    expect(resources(second, 'AWS::Budgets::Budget')).toEqual([]);
    const [cluster] = resources(second, 'AWS::EKS::Cluster').map(({ Properties }) => Properties);
    expect(cluster!['Name']).toBe('wallet-cell-1-eu-central-1');
  });

  it('is in the zones of its instances', () => {
    const zones = resources(second, 'AWS::EC2::Subnet').map(({ Properties }) => Properties['AvailabilityZone']);
    expect(zones).toEqual(['eu-central-1a', 'eu-central-1b', 'eu-central-1c']);
  });

  it('can be reached from the other Region, and reaches the routers of its own', () => {
    const offers = (of: Synthesized) =>
      resources(of, 'AWS::EC2::VPCEndpointService').map(({ Properties }) => Properties['SupportedRegions']);
    expect([offers(home), offers(second)]).toEqual([[['eu-central-1']], [['eu-west-1']]]);
    expect(offers(stacks.get('wallet-cell-1')!)).toEqual([undefined]);
    const reached = (name: string) =>
      resources(both.get(name)!, 'AWS::EC2::VPCEndpoint')
        .map(({ Properties }) => Properties['ServiceName'])
        .filter((service) => JSON.stringify(service).includes('vpce-svc'));
    expect(reached('wallet-cell-1')).toEqual(['com.amazonaws.vpce.eu-west-1.vpce-svc-1']);
    expect(reached('wallet-cell-1-eu-central-1')).toEqual(['com.amazonaws.vpce.eu-central-1.vpce-svc-2']);
  });

  it('passes a bake while it waits, and not if nothing is known of its processes', () => {
    const unknown = (of: Synthesized) =>
      resources(of, 'AWS::CloudWatch::Alarm')
        .filter(({ Properties }) => Properties['TreatMissingData'] === 'missing')
        .map(({ Properties }) => Properties['MetricName']);
    expect([unknown(home), unknown(second)]).toEqual([['cell_build_info'], ['cell_build_info']]);
  });

  it.each(['wallet-router', 'wallet-control-plane'])('%s reaches them across Regions', (name) => {
    const known = synthesized(twoRegionsText, {
      privateServices: { 'cell-1-eu-central-1': 'com.amazonaws.vpce.eu-central-1.vpce-svc-5' },
    }).get(name)!;
    const [endpoint, ...more] = resources(known, 'AWS::EC2::VPCEndpoint')
      .map(({ Properties }) => Properties)
      .filter(({ ServiceName }) => JSON.stringify(ServiceName).includes('vpce-svc'));
    expect(more).toEqual([]);
    expect(endpoint!['ServiceRegion']).toBe('eu-central-1');
    const records = resources(known, 'AWS::Route53::RecordSet').map(({ Properties }) => Properties);
    const named = records.filter(({ Name }) => String(Name).includes('cell-1-eu-central-1'));
    expect(named.map(({ Name }) => Name)).toEqual([
      'cell-1-eu-central-1.wallet.internal.',
      ...['a', 'b', 'c'].map((zone) => `eu-central-1${zone}.cell-1-eu-central-1.wallet.internal.`),
    ]);
    // From another Region no zone has a name of its own.
    expect(new Set(named.map(({ ResourceRecords }) => JSON.stringify(ResourceRecords))).size).toBe(1);
  });

  it('has the images in its own Region, where the other accounts may pull them', () => {
    const [control, copies] = [both.get('wallet-control-plane')!, both.get('wallet-copies-eu-central-1')!];
    expect([copies.account, copies.region]).toEqual([control.account, 'eu-central-1']);
    expect(resources(copies, 'AWS::ECR::Repository')).toEqual(resources(control, 'AWS::ECR::Repository'));
    const [copied] = resources(control, 'AWS::ECR::ReplicationConfiguration').map(({ Properties }) => Properties);
    expect(copied!['ReplicationConfiguration'].Rules).toEqual([
      {
        Destinations: [{ Region: 'eu-central-1', RegistryId: control.account }],
        RepositoryFilters: [{ Filter: 'wallet/', FilterType: 'PREFIX_MATCH' }],
      },
    ]);
    expect(resources(stacks.get('wallet-control-plane')!, 'AWS::ECR::ReplicationConfiguration')).toEqual([]);
  });

  it('has the same tables there, as safe', () => {
    const tables = (of: Synthesized) =>
      resources(of, 'AWS::DynamoDB::GlobalTable').map(({ Properties: { Replicas, ...same }, DeletionPolicy }) => [
        same,
        DeletionPolicy,
        Replicas.map(({ Region, ...rest }: { Region: string }) => (expect(Region).toBe(of.region), rest)),
      ]);
    expect(tables(second)).toHaveLength(4);
    expect(tables(second)).toEqual(tables(home));
  });

  it('has no role twice, since roles are of all Regions', () => {
    const names = [home, second].flatMap((one) =>
      resources(one, 'AWS::IAM::Role').map(({ Properties }) => Properties['RoleName']),
    );
    const given = names.filter((name) => name !== undefined);
    expect(given).toContain('wallet-cell-1-eu-central-1-cell');
    expect(new Set(given).size).toBe(given.length);
  });

  it('lets its own processes and the control plane do there what they do at home', () => {
    const cell = (one: Synthesized, role: RegExp) => byTable(statementsOf(one, role));
    expect(cell(second, /"wallet-cell-1-eu-central-1-cell"/)).toEqual(cell(home, /"wallet-cell-1-cell"/));
    const [added, ...more] = resources(second, 'AWS::IAM::Policy')
      .map(({ Properties }) => Properties)
      .filter(({ PolicyName }) => PolicyName === 'in-eu-central-1');
    expect(more).toEqual([]);
    expect(added!['Roles']).toEqual(['wallet-cell-1-tables']);
    const statements = added!['PolicyDocument'].Statement as Statement[];
    expect(byTable(statements)).toEqual(byTable(statementsOf(home, /"wallet-cell-1-tables"/)));
    expect(statements.at(-1)!.Condition).toEqual({
      StringEquals: { 'kms:ViaService': 'dynamodb.eu-central-1.amazonaws.com' },
    });
    expect(JSON.stringify(statements)).not.toMatch(/"Resource":[^}]*\*/);
  });

  it('writes to one archive from both, which is in neither', () => {
    expect(both.get('wallet-archive')!.region).toBe('eu-north-1');
    agree(both, 'cell-1', 'wallet-cell-1-cell');
    agree(both, 'cell-1-eu-central-1', 'wallet-cell-1-eu-central-1-cell');
    agree(both, 'control-plane', 'wallet-control-plane');
    const [elsewhere, ...more] = resources(home, 'AWS::EC2::VPCEndpoint')
      .map(({ Properties }) => Properties)
      .filter(({ ServiceRegion }) => ServiceRegion !== undefined);
    expect(more).toEqual([]);
    expect(elsewhere).toMatchObject({ ServiceName: 'com.amazonaws.eu-north-1.s3', ServiceRegion: 'eu-north-1' });
  });

  it.each([
    ['cannot be built on AWS yet', /region = "eu-central-1"/, '$&\nreplication = "global-table"'],
    ['are in 0 zones; on AWS at least 2', /instances = \[\n.*eu-central[^\]]*\]/, ''],
    ['zone eu-west-1a is not of region eu-central-1', /zone = "eu-central-1a"/, 'zone = "eu-west-1a"'],
    [
      'cell-4 has its standby in eu-north-2, another cell in eu-central-1: one second Region is built',
      /$/,
      '\n[[cells]]\nid = "cell-4"\naccount = "300000000004"\n[cells.standby]\nregion = "eu-north-2"\n',
    ],
    [
      'cell-4: the instances of its standby are in other zones than those of cell-1',
      /$/,
      '\n[[cells]]\nid = "cell-4"\naccount = "300000000004"\n[cells.standby]\nregion = "eu-central-1"\n',
    ],
    ['a cell cannot be called cell-1-eu-central-1', /id = "cell-2"/, 'id = "cell-1-eu-central-1"'],
    ['more than 64 characters', /id = "cell-1"/, `id = "cell-${'1'.repeat(27)}"`],
    ['the archive is in its own Region', /archive_region = .*/, ''],
  ])('is refused where: %s', (words, is, becomes) => {
    const text = twoRegionsText
      .replace(/canary = .*/, '')
      .replace('name = "wallet"', 'name = "a-long-name-of-a-wallet"');
    expect(() => synthesized(text.replace(is, becomes))).toThrow(words);
  });
});

describe('the routers of a second Region', () => {
  const privateServices = {
    ...services,
    'control-plane': 'com.amazonaws.vpce.eu-west-1.vpce-svc-2',
    'cell-1-eu-central-1': 'com.amazonaws.vpce.eu-central-1.vpce-svc-5',
    'control-plane-eu-central-1': 'com.amazonaws.vpce.eu-central-1.vpce-svc-6',
  };
  const both = synthesized(twoRegionsText, { hostedZone: 'Z1', privateServices });
  const [home, second] = [both.get('wallet-router')!, both.get('wallet-router-eu-central-1')!];
  const records = (of: Synthesized) =>
    resources(of, 'AWS::Route53::RecordSet')
      .map(({ Properties }) => Properties)
      .filter(({ Weight }) => Weight !== undefined);

  it('are in its zones, and what clients reach there is as at home', () => {
    expect([second.account, second.region]).toEqual([home.account, 'eu-central-1']);
    const schemes = (of: Synthesized) =>
      resources(of, 'AWS::ElasticLoadBalancingV2::LoadBalancer').map(({ Properties }) => Properties['Scheme']);
    expect(schemes(second)).toEqual(schemes(home));
    expect(Object.keys(second.template.findOutputs('*')).filter((name) => name.startsWith('PublicTargets'))).toEqual(
      ['a', 'b', 'c'].map((zone) => `PublicTargetsEuCentral1${zone}`),
    );
  });

  it('get clients only while no zone at home is healthy', () => {
    expect(records(home).map(({ SetIdentifier, Weight }) => [SetIdentifier, Weight])).toEqual(
      ['a', 'b', 'c'].map((zone) => [`eu-west-1${zone}`, 100]),
    );
    expect(records(second).map(({ SetIdentifier, Weight }) => [SetIdentifier, Weight])).toEqual(
      ['a', 'b', 'c'].map((zone) => [`eu-central-1${zone}`, 0]),
    );
    const named = [...records(home), ...records(second)];
    expect(new Set(named.map(({ Name, Type }) => `${Name} ${Type}`))).toEqual(new Set(['wallet.example.com A']));
    expect(named.every(({ HealthCheckId, AliasTarget }) => HealthCheckId && AliasTarget.EvaluateTargetHealth)).toBe(
      true,
    );
    expect(new Set(records(second).map(({ HostedZoneId }) => HostedZoneId))).toEqual(new Set(['Z1']));
    expect(resources(second, 'AWS::Route53::HealthCheck')).toHaveLength(9);
  });

  it('have no record before the hosted zone is known, and it is an output of home', () => {
    expect(Object.keys(home.template.findOutputs('HostedZone'))).toEqual(['HostedZone']);
    const unknown = synthesized(twoRegionsText).get('wallet-router-eu-central-1')!;
    expect(records(unknown)).toEqual([]);
    expect(Object.keys(unknown.template.findOutputs('*')).filter((name) => name.includes('Switch'))).toHaveLength(3);
  });

  it('can be left by the role that leaves zones at home, by their switches alone', () => {
    const added = resources(second, 'AWS::IAM::Policy')
      .map(({ Properties }) => Properties)
      .filter(({ PolicyName }) => PolicyName === 'in-eu-central-1');
    expect(added.map(({ Roles }) => Roles)).toEqual([['wallet-zones']]);
    const [statement, ...more] = added[0]!['PolicyDocument'].Statement;
    expect(more).toEqual([]);
    expect(statement.Action).toEqual(['route53:GetHealthCheck', 'route53:UpdateHealthCheck']);
    expect(statement.Resource).toHaveLength(3);
    expect(JSON.stringify(statement.Resource).match(/Wanted/g)).toHaveLength(3);
  });

  it('reach the cells and the control plane, wherever these are', () => {
    const reached = Object.fromEntries(
      resources(second, 'AWS::EC2::VPCEndpoint')
        .map(({ Properties }) => Properties)
        .filter(({ ServiceName }) => JSON.stringify(ServiceName).includes('vpce-svc'))
        .map(({ ServiceName, ServiceRegion }) => [ServiceName, ServiceRegion]),
    );
    expect(reached).toEqual({
      'com.amazonaws.vpce.eu-west-1.vpce-svc-2': 'eu-west-1',
      'com.amazonaws.vpce.eu-central-1.vpce-svc-6': undefined,
      'com.amazonaws.vpce.eu-west-1.vpce-svc-3': 'eu-west-1',
      'com.amazonaws.vpce.eu-central-1.vpce-svc-5': undefined,
    });
    const offers = (name: string) =>
      resources(both.get(name)!, 'AWS::EC2::VPCEndpointService').map(
        ({ Properties }) => Properties['SupportedRegions'],
      );
    // Also of cells without a standby.
    for (const name of ['wallet-cell-2', 'wallet-control-plane']) expect(offers(name)).toEqual([['eu-central-1']]);
    // Cells reach the routers of their own Region.
    expect([offers('wallet-router'), offers('wallet-router-eu-central-1')]).toEqual([[undefined], [undefined]]);
    const admitted = JSON.stringify(resources(second, 'AWS::EC2::VPCEndpointServicePermissions'));
    expect([...admitted.matchAll(/3000000000\d\d/g)].map(String)).toEqual(['300000000001']);
  });
});

describe('a control plane that waits in the second Region', () => {
  const both = synthesized(twoRegionsText, { bastion: true });
  const [home, second] = [both.get('wallet-control-plane')!, both.get('wallet-control-plane-eu-central-1')!];
  const HOME = 'arn:aws:iam::200000000000:role/wallet-control-plane';
  const SECOND = `${HOME}-eu-central-1`;
  const roleNamed = (of: Synthesized, name: string) =>
    resources(of, 'AWS::IAM::Role')
      .map(({ Properties }) => Properties)
      .filter(({ RoleName }) => RoleName === name);

  it('has copies of the tables, as safe as they are, under a key that is there before', () => {
    const tables = resources(home, 'AWS::DynamoDB::GlobalTable').map(({ Properties }) => Properties);
    expect(tables).toHaveLength(5);
    for (const { Replicas } of tables) {
      const copy = Replicas.find(({ Region }: { Region: string }) => Region === 'eu-central-1');
      expect(copy).toMatchObject({
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true, RecoveryPeriodInDays: 35 },
        SSESpecification: { KMSMasterKeyId: 'arn:aws:kms:eu-central-1:200000000000:alias/control-tables' },
      });
    }
    expect(resources(second, 'AWS::DynamoDB::GlobalTable')).toEqual([]);
    const copies = both.get('wallet-copies-eu-central-1')!;
    const [alias] = resources(copies, 'AWS::KMS::Alias').map(({ Properties }) => Properties);
    expect(alias!['AliasName']).toBe('alias/control-tables');
    const alone = resources(stacks.get('wallet-control-plane')!, 'AWS::DynamoDB::GlobalTable');
    expect(alone.map(({ Properties }) => Properties['Replicas'].length)).toEqual([1, 1, 1, 1, 1]);
  });

  it('may do what it may at home, with the copies, and nothing before an operator lets it', () => {
    const rights = (of: Synthesized, role: RegExp) =>
      statementsOf(of, role).filter(({ Action }) => !JSON.stringify(Action).includes('kms:'));
    const without = (statements: Statement[]) =>
      statements.filter(({ Action }) => !/dynamodb/.test(JSON.stringify(Action)));
    const [there, here] = [
      rights(second, /"wallet-control-plane-eu-central-1"/),
      rights(home, /"wallet-control-plane"/),
    ];
    expect(byTable(there)).toEqual(byTable(here));
    expect(without(there)).toEqual(without(here));
    const [role] = roleNamed(second, 'wallet-control-plane-eu-central-1');
    expect(role!['ManagedPolicyArns']).toEqual(['arn:aws:iam::aws:policy/AWSDenyAll']);
    expect(roleNamed(home, 'wallet-control-plane')[0]!['ManagedPolicyArns']).toBeUndefined();
    const [key] = statementsOf(second, /"wallet-control-plane-eu-central-1"/).filter(({ Action }) =>
      JSON.stringify(Action).includes('kms:'),
    );
    expect(key!.Condition).toEqual({
      StringEquals: { 'kms:ViaService': 'dynamodb.eu-central-1.amazonaws.com' },
      'ForAnyValue:StringEquals': { 'kms:ResourceAliases': 'alias/control-tables' },
    });
  });

  it.each(['wallet-cell-1-tables', 'wallet-cell-1-versions', 'wallet-cell-1-eu-central-1-versions', 'wallet-zones'])(
    'may become %s, as the one at home',
    (name) => {
      const [role] = [...both.values()].flatMap((of) => roleNamed(of, name));
      expect(role!['AssumeRolePolicyDocument'].Statement[0].Condition).toEqual({
        ArnEquals: { 'aws:PrincipalArn': [HOME, SECOND] },
      });
    },
  );

  it('is let into the archive as the one at home', () => {
    const named = JSON.stringify(resources(both.get('wallet-archive')!, 'AWS::S3::BucketPolicy'));
    expect(named.split(`"${HOME}"`).length).toBe(named.split(`"${SECOND}"`).length);
    expect(named).toContain(`"${SECOND}"`);
  });

  it('is known to be behind, where it is', () => {
    const late = (of: Synthesized) =>
      resources(of, 'AWS::CloudWatch::Alarm')
        .map(({ Properties }) => Properties)
        .filter(({ MetricName }) => MetricName === 'ReplicationLatency');
    expect(late(home)).toHaveLength(5);
    for (const { Dimensions, Threshold } of late(home)) {
      expect(Dimensions).toContainEqual({ Name: 'ReceivingRegion', Value: 'eu-central-1' });
      expect(Threshold).toBe(30_000);
    }
    expect([late(second), late(stacks.get('wallet-control-plane')!)]).toEqual([[], []]);
  });

  it('does not page because it does not run', () => {
    const names = (of: Synthesized) =>
      resources(of, 'AWS::CloudWatch::Alarm').map(({ Properties }) => Properties['AlarmName'] as string);
    const aboutProcesses = (of: Synthesized) => names(of).filter((name) => /-(none-in-service|unhealthy)$/.test(name));
    const named = names(second);
    expect(aboutProcesses(home)).toHaveLength(2);
    expect(aboutProcesses(second)).toEqual([]);
    expect(named).toContain('control-plane-eu-central-1-placement-system-errors');
    expect(named).toContain('control-plane-eu-central-1-server-errors');
  });

  it('can be left without any right by operators, and by one policy alone', () => {
    const statements = statementsOf(home, /"wallet-fence"/);
    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: ['iam:AttachRolePolicy', 'iam:DetachRolePolicy'],
        Resource: [HOME, SECOND],
        Condition: { ArnEquals: { 'iam:PolicyARN': 'arn:aws:iam::aws:policy/AWSDenyAll' } },
      },
    ]);
    const [role] = roleNamed(home, 'wallet-fence');
    expect(role!['AssumeRolePolicyDocument'].Statement[0].Condition).toEqual({
      ArnEquals: { 'aws:PrincipalArn': example.operators },
    });
    expect(roleNamed(stacks.get('wallet-control-plane')!, 'wallet-fence')).toEqual([]);
  });

  it('is reached by routers of both Regions, and by operators through a bastion of its own', () => {
    const [offered] = resources(second, 'AWS::EC2::VPCEndpointService').map(({ Properties }) => Properties);
    expect(offered!['SupportedRegions']).toEqual(['eu-west-1']);
    expect(roleNamed(second, 'wallet-bastion-eu-central-1')).toHaveLength(1);
    expect(roleNamed(home, 'wallet-bastion')).toHaveLength(1);
  });
});
