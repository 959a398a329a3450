/**
 * Each process's actions on the archive (archive/src). A cell writes what is its own, and changes
 * or deletes no segment; the control plane reads, and creates what ends a Region's log. The bucket
 * and the role have to agree: both are made of these.
 */
import { Validations } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Role } from 'aws-cdk-lib/aws-iam';
import type { AwsConfig } from './deployment-config.ts';
import { archiveBucket, ownersBucket } from './names.ts';

export interface ArchiveUse {
  readonly actions: string[];
  readonly resources: string[];
  readonly conditions?: Record<string, Record<string, string>>;
}

export const isListing = ({ actions }: ArchiveUse) => actions.includes('s3:ListBucket');
/** What all cells may, so that the bucket's policy says it once: it has at most 20 KB. */
export const isCommon = (use: ArchiveUse) => isListing(use) || use.resources.every((one) => one.endsWith(`/${PACKS}`));

export type ArchiveUses = Record<'segments' | 'owners', ArchiveUse[]>;

export const READ = 's3:GetObject';
/** Old blocks of the wallets of all cells. */
export const PACKS = 'packs/*';
const arn = (bucket: string, rest = '') => `arn:aws:s3:::${bucket}${rest}`;
/** Without it, an object that is not there yet is one that may not be read. */
const listing = (bucket: string, prefix: string): ArchiveUse => ({
  actions: ['s3:ListBucket'],
  resources: [arn(bucket)],
  ...(prefix && { conditions: { StringLike: { 's3:prefix': `${prefix}/*` } } }),
});

/** What a cell does with its own part, and with the packs, which belong to no cell. */
export function byCell(config: AwsConfig, cell: string): ArchiveUses {
  const [segments, owners] = [archiveBucket(config), ownersBucket(config)];
  return {
    segments: [
      { actions: [READ, 's3:PutObject'], resources: [arn(segments, `/${cell}/*`)] },
      { actions: [READ], resources: [arn(segments, `/${PACKS}`)] },
      listing(segments, cell),
      listing(segments, 'packs'),
    ],
    owners: [
      { actions: [READ, 's3:PutObject', 's3:DeleteObject'], resources: [arn(owners, `/${cell}/owners/*`)] },
      listing(owners, cell),
    ],
  };
}

/**
 * What the control plane does: restore a cell, add up the books, write packs, and end the log of a
 * Region that a cell leaves: with objects that are not there yet, never in place of one. S3 itself
 * refuses a request that does not say so.
 */
export function byControlPlane(config: AwsConfig): ArchiveUses {
  const [segments, owners] = [archiveBucket(config), ownersBucket(config)];
  const reading = (bucket: string) => [{ actions: [READ], resources: [arn(bucket, '/*')] }, listing(bucket, '')];
  const creating = {
    actions: ['s3:PutObject'],
    resources: ['/*/log/*', '/*/segments/*', `/${PACKS}`].map((rest) => arn(segments, rest)),
    conditions: { Null: { 's3:if-none-match': 'false' } },
  };
  return { segments: [...reading(segments), creating], owners: reading(owners) };
}

export const statements = ({ segments, owners }: ArchiveUses): PolicyStatement[] =>
  [...segments, ...owners].map((use) => new PolicyStatement(use));

/** AWS's rules ask of each wildcard why it is there. */
export function ownPartOnly(role: Role, { segments, owners }: ArchiveUses): void {
  const wild = [...segments, ...owners].flatMap(({ resources }) => resources).filter((one) => one.endsWith('*'));
  for (const resource of wild) {
    Validations.of(role).acknowledge({
      id: `AwsSolutions-IAM5[Resource::${resource}]`,
      reason: 'Objects are named by number, hash or wallet; the folder is what this role may use.',
    });
  }
}
