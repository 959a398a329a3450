/**
 * The archive: all that the cells have written, in an account in which nothing of ours runs.
 * Segments are locked for as long as `archive_days` says: nothing, not even this account's root
 * user, can change or delete one before. The owners of wallets are in a bucket without versions,
 * since they have to be gone when a person is erased.
 *
 * It is in one Region, `archive_region`, which is not that of a cell with a standby: when the
 * cell's Region is lost, the archive is what the cell is restored from.
 */
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import { ArnPrincipal, PolicyStatement, PrincipalWithConditions } from 'aws-cdk-lib/aws-iam';
import { BlockPublicAccess, Bucket, BucketEncryption, ObjectLockRetention, StorageClass } from 'aws-cdk-lib/aws-s3';
import type { BucketProps } from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { byCell, byControlPlane, isCommon, PACKS, READ } from './archive-uses.ts';
import type { ArchiveUse } from './archive-uses.ts';
import { ceilings } from './ceilings.ts';
import { archiveRegion } from './cells-toml.ts';
import type { Settings } from './deployment-config.ts';
import { archiveBucket, cellRole, ownersBucket, roleArn, tags } from './names.ts';
import { controlPlaneRoles, placesOf, stackOf } from './places.ts';

/** What is older is read when a cell is restored, or by an auditor. */
const COLD_AFTER = Duration.days(90);

const PRIVATE: BucketProps = {
  encryption: BucketEncryption.S3_MANAGED,
  blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
  enforceSSL: true,
  minimumTLSVersion: 1.2,
  removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
};

export class ArchiveStack extends Stack {
  constructor(scope: Construct, id: string, { config }: Settings, props: StackProps) {
    const { aws, cells, deployment } = config;
    super(scope, id, {
      ...props,
      description: `What the cells of ${deployment.name} have archived`,
      env: { account: aws.archive_account, region: archiveRegion(config) },
      tags: tags(config, 'archive'),
      terminationProtection: true,
    });
    const segments = new Bucket(this, 'Segments', {
      ...PRIVATE,
      bucketName: archiveBucket(config),
      versioned: true,
      objectLockEnabled: true,
      objectLockDefaultRetention: ObjectLockRetention.compliance(Duration.days(aws.archive_days)),
      lifecycleRules: [
        { transitions: [{ storageClass: StorageClass.GLACIER_INSTANT_RETRIEVAL, transitionAfter: COLD_AFTER }] },
      ],
    });
    const owners = new Bucket(this, 'Owners', { ...PRIVATE, bucketName: ownersBucket(config) });
    const buckets = { segments, owners };
    for (const kind of ['segments', 'owners'] as const) {
      for (const cell of cells) {
        const { account, id } = cell;
        // Both Regions of a cell write to one log, which decides which of them goes on.
        const stacks = placesOf(config, cell).map((place) => stackOf(id, place));
        const uses = byCell(config, id)[kind].filter((use) => !isCommon(use));
        admits(
          buckets[kind],
          account,
          stacks.map((stack) => cellRole(config, stack)),
          uses,
        );
      }
      const accounts = cells.map(({ account }) => account);
      const roles = `arn:aws:iam::*:role/${cellRole(config, '*')}`;
      letsAllCells(buckets[kind], accounts, roles, 's3:ListBucket', buckets[kind].bucketArn);
      if (kind === 'segments') letsAllCells(segments, accounts, roles, READ, segments.arnForObjects(PACKS));
      admits(buckets[kind], aws.control_plane_account, controlPlaneRoles(config), byControlPlane(config)[kind]);
    }
    ceilings(this);
    for (const bucket of [segments, owners]) {
      Validations.of(bucket).acknowledge({
        id: 'AwsSolutions-S1',
        reason: 'The log of the archive is itself the record of what was written; one role writes for each cell.',
      });
    }
  }
}

/** By the names of the roles: they need not exist yet. */
function admits(bucket: Bucket, account: string, roles: string[], uses: readonly ArchiveUse[]): void {
  const arns = roles.map((role) => roleArn(account, role));
  const who = { ArnEquals: { 'aws:PrincipalArn': arns.length === 1 ? arns[0] : arns } };
  for (const { actions, resources, conditions } of uses) {
    bucket.addToResourcePolicy(
      new PolicyStatement({
        principals: [new PrincipalWithConditions(new ArnPrincipal(account), who)],
        actions,
        resources,
        ...(conditions && { conditions }),
      }),
    );
  }
}

/**
 * One statement for all cells, since a policy of a bucket has at most 20 KB. It lets a cell see
 * which objects there are; its role says that these are its own, or packs (archive-uses.ts). What is
 * in its own, each cell reads by a statement of its own.
 */
function letsAllCells(bucket: Bucket, accounts: string[], roles: string, action: string, resource: string): void {
  const who = { ArnLike: { 'aws:PrincipalArn': roles } };
  bucket.addToResourcePolicy(
    new PolicyStatement({
      principals: accounts.map((account) => new PrincipalWithConditions(new ArnPrincipal(account), who)),
      actions: [action],
      resources: [resource],
    }),
  );
}
