import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FIVE, exampleText, manyCells, resources, synthesized } from './synthesized.ts';
import type { Statement } from './synthesized.ts';

const stacks = synthesized(exampleText);
const stack = (name: string) => stacks.get(`wallet-${name}`)!;

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
