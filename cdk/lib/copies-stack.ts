/**
 * What has to be in the second Region before anything is built there, or copied there from home:
 * the repositories of the images, and the key of the control plane's tables. It must never need
 * anything of another stack.
 */
import { RemovalPolicy, Stack } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import { Key } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import type { Settings } from './deployment-config.ts';
import { repositories } from './images.ts';
import { COPIES_KEY, tags } from './names.ts';
import { stackOf } from './places.ts';
import type { Place } from './places.ts';

export class CopiesStack extends Stack {
  constructor(scope: Construct, { config }: Settings, place: Place, props: StackProps) {
    super(scope, stackOf('copies', place), {
      ...props,
      description: `What ${config.deployment.name} copies to its second Region`,
      env: { account: config.aws.control_plane_account, region: place.region },
      tags: tags(config, 'control-plane'),
      terminationProtection: true,
    });
    repositories(this, config);
    new Key(this, 'Key', {
      alias: COPIES_KEY,
      description: "Encrypts the copies of the control plane's tables",
      enableKeyRotation: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
  }
}
