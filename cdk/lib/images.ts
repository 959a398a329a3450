/**
 * The images of a deployment: a repository for each, in the account of the control plane, from
 * which the other accounts pull. Tags never move, and what runs an image names it by its digest.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { CfnReplicationConfiguration, Repository, TagMutability } from 'aws-cdk-lib/aws-ecr';
import { AccountPrincipal, CompositePrincipal } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import type { AwsConfig, Image } from './deployment-config.ts';

const IMAGES: ('cell' | 'router' | Image)[] = [
  'cell',
  'router',
  'control-plane',
  'ctl',
  'collector',
  'prometheus',
  'alertmanager',
  'fluent-bit',
  'grafana',
];

/** In the Region of the stack. */
export function repositories(scope: Construct, { aws, cells, deployment }: AwsConfig): void {
  const accounts = [aws.router_account, ...cells.map((cell) => cell.account)];
  for (const image of IMAGES) {
    const repository = new Repository(scope, `Image-${image}`, {
      repositoryName: `${deployment.name}/${image}`,
      imageTagMutability: TagMutability.IMMUTABLE,
      imageScanOnPush: true,
      removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    });
    // One statement: a policy of a repository has at most 10,240 characters.
    repository.grantPull(new CompositePrincipal(...accounts.map((account) => new AccountPrincipal(account))));
  }
}

/** What is pushed here from now on is copied there, where the repositories are before: a copy brings no policy along. */
export function copied(scope: Construct, { aws, deployment }: AwsConfig, regions: readonly string[]): void {
  if (regions.length === 0) return;
  new CfnReplicationConfiguration(scope, 'Copies', {
    replicationConfiguration: {
      rules: [
        {
          destinations: regions.map((region) => ({ region, registryId: aws.control_plane_account })),
          repositoryFilters: [{ filter: `${deployment.name}/`, filterType: 'PREFIX_MATCH' }],
        },
      ],
    },
  });
}
