import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { expectations } from '../../kubernetes/lib/expectations.ts';
import { findings } from '../../kubernetes/lib/invariants.ts';
import { load } from '../../kubernetes/lib/settings.ts';
import { manifests } from '../../kubernetes/lib/stacks.ts';
import { parseCells } from '../lib/cells-toml.ts';
import { onAws } from '../lib/deployment-config.ts';
import { exampleText, resources, synthesized } from './synthesized.ts';
import type { Synthesized } from './synthesized.ts';

const split = load(fileURLToPath(new URL('../example-split-roles', import.meta.url)));
const expected = expectations(split.config);
const stacks = synthesized(split.text, { privateServices: split.privateServices });
const stack = (name: string) => stacks.get(`wallet-${name}`)!;
const [cell] = split.config.cells;
const SECOND = 'cell-1-eu-central-1';
/** Of the cell, with the instances that cells.toml has for each. */
const REGIONS = [
  ['cell-1', cell!.instances],
  [SECOND, cell!.standby!.instances],
] as const;
type Parsed = any;

function copy(name: string): { all: Parsed[]; get: (kind: string, name: string) => Parsed } {
  const all: Parsed[] = structuredClone([...manifests(split).get(name)!.values()].flat());
  const get = (kind: string, named: string) => {
    // What is applied, not what is created first.
    const found = all.find(
      (one) => one.kind === kind && one.metadata.name === named && (kind !== 'Deployment' || one.spec.replicas !== 0),
    );
    if (!found) throw new Error(`no ${kind} ${named}`);
    return found;
  };
  return { all, get };
}

const argsOf = (deployment: Parsed): string[] => deployment.spec.template.spec.containers[0].args;
const byId = (of: Synthesized, type: string) => Object.entries(of.template.findResources(type)) as [string, any][];
const outputOf = (of: Synthesized, targetGroup: string) =>
  Object.entries(of.template.findOutputs('*')).find(([, { Value }]) => Value?.Ref === targetGroup)?.[0];

it.each([...expected.keys()])('%s is as it must be', (name) => {
  expect(findings(copy(name).all, expected.get(name)!)).toEqual([]);
});

describe.each(REGIONS)('the addresses of %s', (name, instances) => {
  it.each(instances.map((one) => [one.address, one] as const))('%s leads to a process of its role', (_, one) => {
    const [, host, port] = /^(.*):(\d+)$/.exec(one.address)!;
    // From routers and control planes of both Regions, through PrivateLink.
    for (const from of ['router', 'router-eu-central-1', 'control-plane', 'control-plane-eu-central-1']) {
      const names = resources(stack(from), 'AWS::Route53::RecordSet').map(({ Properties }) => Properties['Name']);
      expect(names, from).toContain(`${host}.`);
      const { Properties } = resources(stack(from), 'AWS::EC2::VPCEndpoint').find(
        (endpoint) => endpoint.Properties['ServiceName'] === split.privateServices[name],
      )!;
      const groups = byId(stack(from), 'AWS::EC2::SecurityGroup').filter(([id]) =>
        JSON.stringify(Properties['SecurityGroupIds']).includes(`"${id}"`),
      );
      const open = groups.flatMap(([, group]) => group.Properties.SecurityGroupIngress.map((rule: any) => rule.ToPort));
      expect(open.sort(), from).toEqual([8091, 8092]);
      const component = from.startsWith('router') ? 'router' : 'control-plane';
      expect(copy(from).get('NetworkPolicy', `allow-${component}`).spec.egress, from).toContainEqual({
        to: [{ ipBlock: { cidr: '10.0.0.0/16' } }],
        ports: [{ port: Number(port), protocol: 'TCP' }],
      });
    }
    // In the cell: listener, target group, binding, service, pod.
    const listener = resources(stack(name), 'AWS::ElasticLoadBalancingV2::Listener').find(
      ({ Properties }) => Properties['Port'] === Number(port),
    )!;
    const output = outputOf(stack(name), listener.Properties['DefaultActions'][0].TargetGroupArn.Ref);
    const { all } = copy(name);
    const [binding, ...more] = all.filter((each) => each.spec?.targetGroupARN === `\${${output}}`);
    expect(more).toEqual([]);
    const { selector } = all.find(
      (each) => each.kind === 'Service' && each.metadata.name === binding.spec.serviceRef.name,
    ).spec;
    const behind = all.filter(
      (each) =>
        each.kind === 'Deployment' &&
        each.spec.replicas === 1 &&
        Object.entries({ ...selector, zone: one.zone }).every(
          ([label, value]) => each.spec.template.metadata.labels[label] === value,
        ),
    );
    expect(behind.map((each) => each.metadata.name)).toEqual([`cell-${one.zone}-${one.role}`]);
    expect(argsOf(behind[0])).toContain(`--role=${one.role}`);
  });

  it('are let in by the load balancer, and watched each', () => {
    const ports = resources(stack(name), 'AWS::EC2::SecurityGroup').flatMap(({ Properties }) =>
      ((Properties['SecurityGroupIngress'] ?? []) as any[]).map(({ ToPort }) => ToPort as number),
    );
    expect(ports).toEqual(expect.arrayContaining([8091, 8092]));
    const alarms = byId(stack(name), 'AWS::CloudWatch::Alarm').map(([id, { Properties }]) => ({ id, ...Properties }));
    const [whole] = resources(stack(name), 'AWS::CloudWatch::CompositeAlarm');
    const watched = ['transactions', 'accounts'].map((role) => {
      const alarm = alarms.find(({ AlarmName }) => AlarmName === `${name}-cell-${role}-none-in-service`)!;
      expect(alarms.map(({ AlarmName }) => AlarmName)).toContain(`${name}-cell-${role}-unhealthy`);
      expect(JSON.stringify(whole!.Properties['AlarmRule'])).toContain(alarm.id);
      const group = alarm.Dimensions.find(({ Name }: any) => Name === 'TargetGroup').Value['Fn::GetAtt'][0] as string;
      return outputOf(stack(name), group);
    });
    expect(watched).toEqual(['TransactionsTargets', 'AccountsTargets']);
  });

  it('are those of deployments that ctl deploy can name, and may change', () => {
    const { all, get } = copy(name);
    const names = instances.map(({ role, zone }) => `cell-${zone}-${role}`).sort();
    const [rule] = get('Role', 'versions').rules;
    expect([...rule.resourceNames].sort()).toEqual(names);
    const created = all.filter((one) => one.kind === 'Deployment' && one.spec.replicas === 0);
    expect(created.map((one) => one.metadata.name).sort()).toEqual(names);
  });
});

it('each role may take what the cell takes, and has the cores for the part of it that it writes', () => {
  const cellOf = (max_tps: number) => {
    const cells = split.config.cells.map((one) => ({ ...one, max_tps }));
    const made = manifests({ ...split, config: { ...split.config, cells } })
      .get('cell-1')!
      .get('cell.yaml')!;
    const of = (role: string) => made.find((one: Parsed) => one.metadata.name === `cell-eu-west-1b-${role}`) as Parsed;
    return ['transactions', 'accounts'].map((role) => [
      argsOf(of(role)).find((arg) => arg.startsWith('--max-tps=')),
      of(role).spec.template.spec.containers[0].resources.requests.cpu,
    ]);
  };
  const both = (share: number, ...cores: string[]) => cores.map((cpu) => [`--max-tps=${share}`, cpu]);
  expect(cellOf(5_000)).toEqual(both(2_500, '1', '1'));
  expect(cellOf(80_000)).toEqual(both(40_000, '16', '4'));
  const rust = readFileSync(new URL('../../cell/src/admission.rs', import.meta.url), 'utf8');
  expect(rust).toContain('const ACCOUNTS_SHARE: u32 = 4;');
});

describe.each(['cell-1', SECOND])('what is wrong with roles in %s is found', (name) => {
  const zone = name === SECOND ? 'eu-central-1a' : 'eu-west-1a';
  type Copy = ReturnType<typeof copy>;
  const without = ({ all }: Copy, isIt: (one: Parsed) => boolean) =>
    all.splice(0, all.length, ...all.filter((one) => !isIt(one)));
  const replaced = (args: string[], is: string, becomes: string) => args.splice(args.indexOf(is), 1, becomes);
  const mistakes: [string, (of: Copy) => void, string][] = [
    [
      'a deployment is missing',
      (of) => without(of, (one) => one.kind === 'Deployment' && one.metadata.name === `cell-${zone}-accounts`),
      'accounts: deployments stand in zones',
    ],
    [
      'a role is missing',
      (of) => without(of, (one) => one.kind === 'Deployment' && one.metadata.labels.role === 'transactions'),
      'transactions: deployments stand in zones ,',
    ],
    [
      'a process that does the other role',
      ({ get }) =>
        replaced(argsOf(get('Deployment', `cell-${zone}-accounts`)), '--role=accounts', '--role=transactions'),
      `Deployment cell-${zone}-accounts: does transactions, and is reached for accounts`,
    ],
    [
      'a process that does everything',
      ({ get }) =>
        replaced(argsOf(get('Deployment', `cell-${zone}-transactions`)), '--role=transactions', '--role=all'),
      `Deployment cell-${zone}-transactions: does all, and is reached for transactions`,
    ],
    [
      'a process that is of no role by its label',
      ({ get }) => {
        const { spec } = get('Deployment', `cell-${zone}-accounts`);
        delete spec.selector.matchLabels.role;
        delete spec.template.metadata.labels.role;
      },
      `Deployment cell-${zone}-accounts: has role all, and roles are transactions and accounts`,
    ],
    [
      'accounts take less than the peak without a zone',
      ({ get }) => replaced(argsOf(get('Deployment', `cell-${zone}-accounts`)), '--max-tps=2500', '--max-tps=600'),
      `cell-${zone}-accounts: with a zone gone, processes take 1200 writes a second of 5000`,
    ],
    [
      'an address that leads to both roles',
      ({ get }) => delete get('Service', 'cell-accounts').spec.selector.role,
      'Service cell-accounts: leads to others than accounts',
    ],
    [
      'the addresses are exchanged',
      ({ get }) => {
        get('TargetGroupBinding', 'cell-accounts').spec.targetGroupARN = '${TransactionsTargets}';
        get('TargetGroupBinding', 'cell-transactions').spec.targetGroupARN = '${AccountsTargets}';
      },
      'Service cell-accounts: leads to others than transactions',
    ],
    [
      'a role without a disruption budget',
      (of) => without(of, (one) => one.kind === 'PodDisruptionBudget' && one.metadata.name === 'cell-accounts'),
      '0 disruption budgets for cell, accounts',
    ],
    [
      'a budget over both roles, beside that of one',
      ({ get }) => delete get('PodDisruptionBudget', 'cell-accounts').spec.selector.matchLabels.role,
      '2 disruption budgets for cell, transactions',
    ],
    [
      'the control plane may not bring a version to one',
      ({ get }) => get('Role', 'versions').rules[0].resourceNames.pop(),
      'rights are',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    const of = copy(name);
    mistake(of);
    expect(findings(of.all, expected.get(name)!).join('\n')).toContain(words);
  });
});

describe('cells.toml', () => {
  const read = (text: string) => onAws(parseCells(text));
  const line = (zone: string, name: string, port: number, role: string) =>
    `{ address = "${zone}.${name}.wallet.internal:${port}", role = "${role}", zone = "${zone}" },`;
  const ofOne = line('eu-west-1b', 'cell-1', 8092, 'accounts');
  const ofSecond = line('eu-central-1b', SECOND, 8091, 'transactions');
  it.each([
    [
      'a zone lacks a role',
      ofOne,
      '',
      'so there has to be an instance { address = "eu-west-1b.cell-1.wallet.internal:8092"',
    ],
    ['the second Region lacks one', ofSecond, '', 'eu-central-1b.cell-1-eu-central-1.wallet.internal:8091'],
    ['an address is of the other role', ofOne, ofOne.replace('8092', '8091'), 'so there has to be an instance'],
    [
      'an instance does everything beside them',
      ofOne,
      ofOne + '"h:1",',
      'instance h:1 is none of one role in each zone',
    ],
    ['one is listed twice', ofOne, ofOne + ofOne, 'cell-1.wallet.internal:8092 is none of one role in each zone'],
  ])('is refused where %s', (_, is, becomes, words) => {
    expect(split.text).toContain(is);
    expect(() => read(split.text.replace(is, becomes))).toThrow(words);
  });

  it('is refused where one Region alone is split', () => {
    const plain = ['a', 'b', 'c'].map((at) => `{ address = "h:1", zone = "eu-central-1${at}" }`).join();
    const text = split.text.replace(/(\[cells\.standby\]\n.*\n)instances = \[\n[^\]]*\]/, `$1instances = [${plain}]`);
    expect(text).not.toBe(split.text);
    expect(() => read(text)).toThrow('cell-1: roles are split in one of its Regions');
  });

  it('without roles leaves everything as it was: one address, one target group, one port', () => {
    const plain = synthesized(exampleText, { privateServices: split.privateServices });
    const listeners = resources(plain.get('wallet-cell-1')!, 'AWS::ElasticLoadBalancingV2::Listener');
    expect(listeners.map(({ Properties }) => Properties['Port'])).toEqual([8091]);
    for (const one of plain.values()) expect(JSON.stringify(one.template.toJSON())).not.toContain('8092');
    expect(JSON.stringify([...manifests({ ...split, config: read(exampleText) })])).not.toContain('8092');
  });
});
