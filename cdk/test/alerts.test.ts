import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { load } from '../../kubernetes/lib/settings.ts';
import { manifests } from '../../kubernetes/lib/stacks.ts';
import { EXAMPLE, deployment } from '../lib/settings.ts';
import { parseAllDocuments } from '../lib/yaml.ts';
import { example, exampleText, resources, statementsOf, synthesized, twoRegionsText } from './synthesized.ts';
import type { Statement } from './synthesized.ts';

const stacks = synthesized(exampleText);
const generated = manifests(load(EXAMPLE));
const FIVE = ['control-plane', 'router', 'cell-1', 'cell-2', 'cell-3'];
const stack = (name: string) => stacks.get(`wallet-${name}`)!;
const MONITORING = /wallet\/monitoring in/;
type Parsed = any;

/** What Alertmanager of a stack's cluster is given. */
function alertmanager(name: string): Parsed {
  const documents: Parsed[] = [...generated.get(name)!.values()].flat();
  const given = documents.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'monitoring');
  return parseAllDocuments(given.data['alertmanager.yml'])[0]!.toJS();
}

const topicNames = (name: string) =>
  resources(stack(name), 'AWS::SNS::Topic').map(({ Properties }) => Properties['TopicName'] as string);
const policiesOf = (name: string) =>
  resources(stack(name), 'AWS::SNS::TopicPolicy').map(
    ({ Properties }) => Properties['PolicyDocument'].Statement as Statement[],
  );

describe.each(FIVE)('alerts of %s', (name) => {
  it('are published to topics of its own account, which are encrypted', () => {
    expect(topicNames(name)).toEqual([`${name}-pages`, `${name}-tickets`]);
    for (const { Properties } of resources(stack(name), 'AWS::SNS::Topic'))
      expect(JSON.stringify(Properties['KmsMasterKeyId'])).toMatch(/"TopicsKey/);
    const configured = alertmanager(name).receivers.map((one: Parsed) => [one.name, one.sns_configs[0].topic_arn]);
    const arn = (topic: string) => `arn:aws:sns:eu-west-1:${stack(name).account}:${name}-${topic}`;
    expect(configured).toEqual([
      ['page', arn('pages')],
      ['ticket', arn('tickets')],
    ]);
  });

  it('have a subject that SNS takes, with the longest names', () => {
    for (const { sns_configs } of alertmanager(name).receivers) {
      const text = (sns_configs[0].subject as string)
        .replace('{{ .Status }}', 'resolved')
        .replace('{{ .GroupLabels.alertname }}', 'A'.repeat(50))
        .replace(name, 'c'.repeat(32));
      expect(text).not.toContain('{{');
      expect(text.length).toBeLessThan(100);
    }
  });

  it('may be published by Alertmanager, which may do nothing else', () => {
    const [publish, key, ...more] = statementsOf(stack(name), MONITORING);
    expect(more).toEqual([]);
    expect([publish!.Action, key!.Action]).toEqual(['sns:Publish', ['kms:Decrypt', 'kms:GenerateDataKey']]);
    expect(JSON.stringify(publish!.Resource)).toMatch(/^\[\{"Ref":"Topicspage\w+"\},\{"Ref":"Topicsticket\w+"\}\]$/);
    expect(JSON.stringify(key!.Resource)).toMatch(/"TopicsKey/);
    expect(key!.Condition).toEqual({ StringEquals: { 'kms:ViaService': 'sns.eu-west-1.amazonaws.com' } });
  });

  it('are refused from every other process, also from one of the account', () => {
    expect(policiesOf(name)).toHaveLength(2);
    for (const statements of policiesOf(name)) {
      const named = { 'Fn::GetAtt': [expect.stringMatching(/monitoringrole/), 'Arn'] };
      const roles = statements.filter(({ Effect, Condition }) => Effect === 'Allow' && Condition === undefined);
      expect(roles).toEqual([expect.objectContaining({ Action: 'sns:Publish', Principal: { AWS: named } })]);
      expect(statements).toContainEqual({
        Sid: expect.any(String),
        Effect: 'Deny',
        Action: 'sns:Publish',
        Principal: { AWS: '*' },
        Resource: expect.anything(),
        Condition: { ArnNotEquals: { 'aws:PrincipalArn': named }, Bool: { 'aws:PrincipalIsAWSService': 'false' } },
      });
      // Other accounts are not named, so they may neither publish nor subscribe.
      const accounts = JSON.stringify(statements).match(/\d{12}/g) ?? [];
      expect(accounts.filter((one) => one !== stack(name).account)).toEqual([]);
    }
  });

  it('leave the network by an endpoint that carries nothing else', () => {
    const endpoints = resources(stack(name), 'AWS::EC2::VPCEndpoint').filter(
      ({ Properties }) => Properties['ServiceName'] === 'com.amazonaws.eu-west-1.sns',
    );
    expect(endpoints).toHaveLength(1);
    const { PolicyDocument, PrivateDnsEnabled, SubnetIds } = endpoints[0]!.Properties;
    expect([PrivateDnsEnabled, SubnetIds.length]).toEqual([true, 3]);
    expect(PolicyDocument.Statement).toEqual([
      {
        Effect: 'Allow',
        Principal: { AWS: '*' },
        Action: 'sns:Publish',
        Resource: statementsOf(stack(name), MONITORING)[0]!.Resource,
        Condition: {
          ArnEquals: { 'aws:PrincipalArn': { 'Fn::GetAtt': [expect.stringMatching(/monitoringrole/), 'Arn'] } },
        },
      },
    ]);
  });

  it('go to what settings.json names, for each urgency', () => {
    const subscribed = resources(stack(name), 'AWS::SNS::Subscription').map(
      ({ Properties: { TopicArn, Protocol, Endpoint } }) => [JSON.stringify(TopicArn), Protocol, Endpoint],
    );
    expect(subscribed).toEqual([
      [expect.stringMatching(/Topicspage/), 'https', 'https://alerts.example.com/wallet'],
      [expect.stringMatching(/Topicsticket/), 'email', 'wallet@example.com'],
    ]);
  });
});

it('a second Region has topics of its own, by the name of its stack', () => {
  const second = synthesized(twoRegionsText).get('wallet-cell-1-eu-central-1')!;
  const names = resources(second, 'AWS::SNS::Topic').map(({ Properties }) => Properties['TopicName']);
  expect(names).toEqual(['cell-1-eu-central-1-pages', 'cell-1-eu-central-1-tickets']);
  expect(resources(second, 'AWS::SNS::Subscription')).toHaveLength(2);
});

it('nothing subscribes before settings.json says what', () => {
  const without = synthesized(exampleText, { alerts: undefined }).get('wallet-cell-1')!;
  expect(resources(without, 'AWS::SNS::Topic')).toHaveLength(2);
  expect(resources(without, 'AWS::SNS::Subscription')).toEqual([]);
});

it.each([
  ['an address without TLS', { protocol: 'https', endpoint: 'http://alerts.example.com' }],
  ['an e-mail address that is none', { protocol: 'email', endpoint: 'alerts.example.com' }],
  ['another protocol', { protocol: 'sms', endpoint: '+100' }],
])('%s cannot subscribe', (_, page) => {
  const folder = mkdtempSync(join(tmpdir(), 'alerts-'));
  writeFileSync(join(folder, 'cells.toml'), exampleText);
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ alerts: { ...example.alerts, page } }));
  expect(() => deployment(folder)).toThrow(/alerts\.page/);
});
