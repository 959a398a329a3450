import { describe, expect, it } from 'vitest';
import { load } from '../../kubernetes/lib/settings.ts';
import { manifests } from '../../kubernetes/lib/stacks.ts';
import { EXAMPLE } from '../lib/settings.ts';
import { parseAllDocuments } from '../lib/yaml.ts';
import { exampleText, resources, statementsOf, synthesized } from './synthesized.ts';

const stacks = synthesized(exampleText);
const generated = manifests(load(EXAMPLE));
type Parsed = any;

describe.each([
  ['control-plane', 'control-plane', ['bootstrap', 'deploy']],
  ['router', 'router', []],
  ['cell-2', 'cell', []],
] as const)('logs of %s', (name, component, more) => {
  const stack = stacks.get(`wallet-${name}`)!;
  const documents: Parsed[] = [...generated.get(name)!.values()].flat();
  const map = documents.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'log-carrier');
  const { inputs, outputs } = parseAllDocuments(map.data['fluent-bit.yaml'])[0]!.toJS().pipeline;
  const groups = [component, 'collector', 'monitoring', ...more].map((one) => `/wallet/${name}/${one}`);

  it('have a group for each component, encrypted and kept for three months', () => {
    const made = resources(stack, 'AWS::Logs::LogGroup').filter(({ Properties }) => Properties['LogGroupName']);
    expect(made.map(({ Properties }) => Properties['LogGroupName'])).toEqual(groups);
    for (const { Properties, DeletionPolicy } of made) {
      expect(Properties['RetentionInDays']).toBe(90);
      expect(JSON.stringify(Properties['KmsKeyId'])).toMatch(/"LogsKey/);
      expect(DeletionPolicy).toBe('RetainExceptOnCreate');
    }
  });

  it('are of every pod of ours but of the carrier itself', () => {
    const pods = documents
      .filter(({ kind }) => ['Deployment', 'Job'].includes(kind))
      .map(({ metadata }) => metadata.name as string);
    const globs: string[] = inputs.map(({ path }: Parsed) => /wallet_([a-z-]+)-\*\/\*\/\*\.log$/.exec(path)![1]);
    expect(pods.filter((pod) => globs.filter((glob) => `${pod}-x`.startsWith(`${glob}-`)).length !== 1)).toEqual([]);
    expect(outputs.map((one: Parsed) => one.log_group_name)).toEqual(groups);
    expect(outputs.map((one: Parsed) => one.match)).toEqual(inputs.map((one: Parsed) => one.tag));
  });

  it('are dropped once too many wait, and nothing makes a group beside these', () => {
    for (const input of inputs) expect(input['storage.type']).toBe('filesystem');
    for (const output of outputs) {
      expect(output['storage.total_limit_size']).toBe('256M');
      expect(output.retry_limit).toBe(20);
      expect(output.auto_create_group).toBe('off');
    }
  });

  it('may be added to by the carrier, which may do nothing else', () => {
    const [adding, ...others] = statementsOf(stack, /wallet-logs\/log-carrier in/);
    expect(others).toEqual([]);
    expect(adding!.Action).toEqual(['logs:CreateLogStream', 'logs:PutLogEvents']);
    expect(adding!.Resource).toEqual(groups.map((one) => `arn:aws:logs:eu-west-1:${stack.account}:log-group:${one}:*`));
  });

  it('that are lost are counted, and an alert says so', () => {
    const given = documents.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'monitoring').data;
    const { rule_files, scrape_configs } = parseAllDocuments(given['prometheus.yml'])[0]!.toJS();
    expect(rule_files).toContain('logs.yml');
    expect(scrape_configs.at(-1)).toMatchObject({
      job_name: 'log-carrier',
      metrics_path: '/api/v2/metrics/prometheus',
    });
    expect(given['logs.yml']).toContain('fluentbit_output_dropped_records_total');
  });
});
