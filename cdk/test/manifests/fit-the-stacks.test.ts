import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { expectations } from '../../../kubernetes/lib/expectations.ts';
import { parseAllDocuments } from '../../lib/yaml.ts';
import { exampleText, resources, synthesized, twoRegionsText } from '../synthesized.ts';
import { cell, copy, pod, settings, split, two } from './copies.ts';
import type { Parsed } from './copies.ts';

describe.each([
  ['in one Region', exampleText, settings],
  ['in two', twoRegionsText, two],
  ['in two, with split roles', split.text, split],
])('what the two halves agree on %s', (_, cellsText, settings) => {
  const stacks = synthesized(cellsText);
  const expected = expectations(settings.config);

  it('the clusters are of the version that the manifests are validated against', () => {
    const script = readFileSync(new URL('../../../scripts/check-kubernetes', import.meta.url), 'utf8');
    const version = /^kubernetes=(.*)$/m.exec(script)?.[1];
    // Nothing runs where the archive is, and where images are copied to.
    for (const [name, stack] of [...stacks].filter(([name]) => !/wallet-(archive|copies)/.test(name))) {
      const clusters = resources(stack, 'AWS::EKS::Cluster').map(({ Properties }) => Properties['Version']);
      expect(clusters, name).toEqual([version]);
    }
  });

  it('every target group of a stack has an output, by which its binding finds it', () => {
    for (const [stack, { outputs }] of expected) {
      const { template } = stacks.get(`wallet-${stack}`)!;
      const made = Object.keys(template.findOutputs('*')).filter(
        (name) => name.endsWith('Targets') || name.startsWith('PublicTargets'),
      );
      expect(made.sort()).toEqual([...outputs].sort());
      expect(resources(stacks.get(`wallet-${stack}`)!, 'AWS::ElasticLoadBalancingV2::TargetGroup')).toHaveLength(
        outputs.length,
      );
    }
  });

  it('every alert is raised in a cluster, but those that are about two of them', () => {
    const named = (files: Parsed[]) =>
      files.flatMap((one) => [...(one as string).matchAll(/alert: (\w+)/g)].map(([, name]) => name!));
    const given = readFileSync(new URL('../../../ops/prometheus/alerts.yml', import.meta.url), 'utf8');
    const atHome = [...expected.keys()].filter((stack) => !stack.endsWith('-eu-central-1'));
    const raised = atHome.map((stack) => copy(stack, settings).get('ConfigMap', 'monitoring').data['alerts.yml']);
    expect(named([given]).filter((name) => !named(raised).includes(name))).toEqual([
      'TargetVanished',
      'PlacementBehind',
    ]);
    // Silence of what is elsewhere is no alert here.
    expect(named(raised.slice(2)).filter((name) => /Routers|Requests|ControlPlane/.test(name))).toEqual([]);
  });

  it('a process outlives the delay with which every target group lets go of it', () => {
    const { get } = copy('cell-2', settings);
    const stops = pod(cell(get)).containers[0].lifecycle.preStop.sleep.seconds;
    for (const stack of expected.keys()) {
      for (const { Properties } of resources(
        stacks.get(`wallet-${stack}`)!,
        'AWS::ElasticLoadBalancingV2::TargetGroup',
      )) {
        const attributes = Properties['TargetGroupAttributes'] as { Key: string; Value: string }[];
        const delay = attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value;
        expect(Number(delay), stack).toBeLessThan(stops);
      }
    }
  });

  it('service accounts have the roles that the stacks associate', () => {
    for (const stack of expected.keys()) {
      const associated = resources(stacks.get(`wallet-${stack}`)!, 'AWS::EKS::PodIdentityAssociation').map(
        ({ Properties }) => Properties,
      );
      const accounts = copy(stack, settings)
        .all.filter((one) => one.kind === 'ServiceAccount')
        .map((one) => one.metadata);
      for (const { Namespace, ServiceAccount } of associated) {
        expect(accounts.map(({ name, namespace }) => `${namespace}/${name}`)).toContain(
          `${Namespace}/${ServiceAccount}`,
        );
      }
      expect(associated).toHaveLength(stack.startsWith('router') ? 3 : 4);
    }
  });

  it('the collector takes spans where the processes send them, and exports them to X-Ray', () => {
    for (const stack of expected.keys()) {
      const { receivers, exporters, service } = parseAllDocuments(
        copy(stack, settings).get('ConfigMap', 'collector').data['config.yaml'],
      )[0]!.toJS();
      const args = copy(stack, settings).all.flatMap((one) => one.spec?.template?.spec?.containers?.[0]?.args ?? []);
      const processes = 3 * expected.get(stack)!.roles.length;
      expect(receivers.otlp.protocols.http.endpoint).toBe('0.0.0.0:4318');
      expect(args.filter((arg) => arg === '--otlp-endpoint=http://collector:4318')).toHaveLength(processes);
      expect(args.filter((arg) => arg === `--trace-ratio=${settings.traceRatio}`)).toHaveLength(processes);
      const { region } = expected.get(stack)!;
      expect(exporters.awsxray).toEqual({ region });
      expect(service.pipelines.traces.exporters).toEqual(['awsxray']);
      const { Properties } = resources(stacks.get(`wallet-${stack}`)!, 'AWS::EC2::VPCEndpoint').find(
        (one) => one.Properties['ServiceName'] === `com.amazonaws.${region}.xray`,
      )!;
      expect(Properties['PolicyDocument'].Statement).toEqual([
        {
          Effect: 'Allow',
          Principal: { AWS: '*' },
          Action: 'xray:PutTraceSegments',
          Resource: '*',
          Condition: {
            ArnEquals: { 'aws:PrincipalArn': { 'Fn::GetAtt': [expect.stringMatching(/collectorrole/), 'Arn'] } },
          },
        },
      ]);
    }
  });

  it('the collector carries exactly the metrics that alarms are about', () => {
    for (const stack of expected.keys()) {
      const map = copy(stack, settings).get('ConfigMap', 'collector').data['config.yaml'] as string;
      const carried = [...map.matchAll(/\^(\w+)\$/g)].map(([, name]) => name!).sort();
      const alarmed = resources(stacks.get(`wallet-${stack}`)!, 'AWS::CloudWatch::Alarm')
        .filter(({ Properties }) => Properties['Namespace'] === 'Wallet')
        .map(({ Properties }) => Properties['MetricName'] as string)
        .sort();
      expect(carried, stack).toEqual(alarmed);
    }
  });
});
