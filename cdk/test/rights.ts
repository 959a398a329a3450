/** What roles and buckets let each other do, as the templates have it. */
import { expect } from 'vitest';
import { list, resources, statementsOf } from './synthesized.ts';
import type { Statement, Synthesized } from './synthesized.ts';

/** Resource → actions, as one line each; of DynamoDB only. */
export function byTable(statements: Statement[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { Effect, Action, Resource } of statements) {
    const actions = list(Action)
      .map(String)
      .filter((action) => action.startsWith('dynamodb:'));
    if (Effect !== 'Allow' || actions.length === 0) continue;
    for (const resource of list(Resource)) {
      const text = JSON.stringify(resource);
      // The name of a stream is known once it is made.
      const stream = text.match(/"Tables([a-z]+)[0-9A-F]{8}","StreamArn"/);
      const key = stream ? `the stream of ${stream[1]}` : text.match(/table\/([a-z0-9/-]+)/)![1]!;
      found[key] = [...(found[key] ?? []), ...actions.map((action) => action.slice('dynamodb:'.length))].sort();
    }
  }
  return found;
}

export const policyOf = (archive: Synthesized): Statement[] =>
  resources(archive, 'AWS::S3::BucketPolicy').flatMap(({ Properties }) => Properties['PolicyDocument'].Statement);
export const forRole = (statements: Statement[], role: string) =>
  statements.filter((one) => JSON.stringify(one.Condition)?.includes(`role/${role}"`));

/**
 * What the buckets let a role do with objects is what its own stack lets it do, under the same
 * conditions. To list them, a cell is let by a statement for all cells; which objects are its own,
 * its own stack says.
 */
export function agree(all: Map<string, Synthesized>, name: string, role: string): void {
  const strip = ({ Action, Resource, Condition: { ArnEquals: _, ...more } = {} }: Statement) =>
    JSON.stringify([list(Action), list(Resource), more]);
  const archive = policyOf(all.get('wallet-archive')!);
  const { account } = all.get(`wallet-${name}`)!;
  const mine = statementsOf(all.get(`wallet-${name}`)!, new RegExp(`"${role}"`)).filter(({ Action }) =>
    JSON.stringify(Action).includes('s3:'),
  );
  const lists = mine.filter(({ Condition }) => Condition?.['StringLike'] !== undefined);
  const isPacks = ({ Action, Resource }: Statement) => Action === 's3:GetObject' && /packs\/\*$/.test(String(Resource));
  const packs = mine.filter(isPacks);
  const admitted = forRole(archive, role);
  expect(admitted.length).toBeGreaterThan(0);
  expect(admitted.map(strip).sort()).toEqual(
    mine
      .filter((one) => !lists.includes(one) && !packs.includes(one))
      .map(strip)
      .sort(),
  );
  const common = archive.filter((one) => one.Condition?.['ArnLike']);
  for (const { Action, Resource, Condition } of [...lists, ...packs]) {
    const folder = Condition && String(Condition['StringLike']!['s3:prefix']).replace('/*', '');
    expect(Action).toBe(folder ? 's3:ListBucket' : 's3:GetObject');
    // A role in a second Region lists what its cell has written in both.
    if (folder && folder !== 'packs') expect(name).toContain(folder);
    const same = common.filter((one) => one.Action === Action && bucketOf(one.Resource) === bucketOf(Resource));
    expect(same).toEqual([
      expect.objectContaining({
        Principal: { AWS: expect.arrayContaining([account]) },
        Condition: { ArnLike: { 'aws:PrincipalArn': 'arn:aws:iam::*:role/wallet-*-cell' } },
      }),
    ]);
    if (!folder) expect(JSON.stringify(same[0]!.Resource)).toContain('/packs/*');
  }
}

/** A bucket is named in its own stack by reference, elsewhere by its name. */
const bucketOf = (resource: unknown) => (/[Oo]wners/.test(JSON.stringify(resource)) ? 'owners' : 'segments');
