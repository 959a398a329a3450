import { describe, expect, it } from 'vitest';
import { FIVE, exampleText, resources, synthesized } from './synthesized.ts';

const stacks = synthesized(exampleText);
const stack = (name: string) => stacks.get(`wallet-${name}`)!;

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
