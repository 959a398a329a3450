/** Stacks of the example, or of a variation of it, synthesized once for each test file. */
import { readFileSync } from 'node:fs';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { parseCells } from '../lib/cells-toml.ts';
import { onAws } from '../lib/deployment-config.ts';
import { all } from '../lib/deployment.ts';
import type { Settings } from '../lib/deployment-config.ts';
import { EXAMPLE, deployment } from '../lib/settings.ts';

export const example = deployment(EXAMPLE);
export const exampleText = example.text;
/** The same with a second Region for one cell, and the archive in a third. */
export const twoRegionsText = readFileSync(new URL('../example-two-regions/cells.toml', import.meta.url), 'utf8');

/** The example with so many cells, and nothing said of their instances. */
export function manyCells(count: number): string {
  const [start] = exampleText.split('[[cells]]');
  const cells = Array.from({ length: count }, (_, at) => {
    const account = 300_000_000_001 + at;
    return `[[cells]]\nid = "cell-${at + 1}"\naccount = "${account}"\n`;
  });
  return start + cells.join('');
}

export const services = {
  router: 'com.amazonaws.vpce.eu-west-1.vpce-svc-1',
  'control-plane': 'com.amazonaws.vpce.eu-west-1.vpce-svc-2',
  'cell-1': 'com.amazonaws.vpce.eu-west-1.vpce-svc-3',
};

export const settingsOf = (text: string): Settings => ({
  config: onAws(parseCells(text)),
  privateServices: services,
  alerts: example.alerts,
  operators: example.operators,
  cellBudgetUsd: example.cellBudgetUsd,
});

/** What follows `wallet-` in the names of the example's stacks that have a cluster. */
export const FIVE = ['control-plane', 'router', 'cell-1', 'cell-2', 'cell-3'];

export interface Synthesized {
  readonly template: Template;
  readonly account: string;
  readonly region: string;
  readonly tags: Record<string, string>;
}

/** By stack name. */
export function synthesized(text: string, changed: Partial<Settings> = {}): Map<string, Synthesized> {
  const app = new App();
  all(app, { ...settingsOf(text), ...changed });
  const stacks = app.node.children.filter((one): one is Stack => one instanceof Stack);
  return new Map(
    stacks.map((stack) => {
      const { account, region } = stack;
      const tags = stack.tags.tagValues();
      return [stack.stackName, { template: Template.fromStack(stack), account, region, tags }];
    }),
  );
}

export interface Resource {
  readonly Type: string;
  readonly Properties: Record<string, any>;
  readonly DeletionPolicy?: string;
}

export const resources = ({ template }: Synthesized, type: string): Resource[] =>
  Object.values(template.findResources(type)) as Resource[];

export interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
  readonly Condition?: Record<string, Record<string, unknown>>;
}

/** What a role with a matching name or description may do. */
export function statementsOf(stack: Synthesized, role: RegExp): Statement[] {
  const found = resources(stack, 'AWS::IAM::Role').filter(({ Properties: { RoleName = '', Description = '' } }) =>
    role.test(`${JSON.stringify(RoleName)} ${JSON.stringify(Description)}`),
  );
  if (found.length !== 1) throw new Error(`${found.length} roles match ${role}`);
  const policies = (found[0]!.Properties['Policies'] ?? []) as { PolicyDocument: { Statement: Statement[] } }[];
  return policies.flatMap((policy) => policy.PolicyDocument.Statement);
}

export const list = (one: unknown): unknown[] => (Array.isArray(one) ? one : [one]);
