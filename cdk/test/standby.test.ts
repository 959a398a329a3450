import { describe, expect, it } from 'vitest';
import { agree, byTable } from './rights.ts';
import { exampleText, resources, statementsOf, synthesized, twoRegionsText } from './synthesized.ts';
import type { Statement, Synthesized } from './synthesized.ts';

const stacks = synthesized(exampleText);

describe('a cell with a standby', () => {
  const both = synthesized(twoRegionsText);
  const [home, second] = [both.get('wallet-cell-1')!, both.get('wallet-cell-1-eu-central-1')!];

  it('is exactly one more stack, in the account of the cell and its second Region', () => {
    expect([...both.keys()].filter((name) => !stacks.has(name))).toEqual(['wallet-cell-1-eu-central-1']);
    expect([second.account, second.region]).toEqual([home.account, 'eu-central-1']);
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
    const [added, ...more] = resources(second, 'AWS::IAM::Policy').map(({ Properties }) => Properties);
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
