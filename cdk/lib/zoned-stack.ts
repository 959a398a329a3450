/**
 * A stack that knows its zones from cells.toml. `Vpc` would otherwise look them up in the account,
 * which needs credentials and, worse, answers for the account that asks.
 */
import { Stack } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { ceilings } from './ceilings.ts';
import type { AwsConfig } from './deployment-config.ts';
import { tags } from './names.ts';

export class ZonedStack extends Stack {
  private readonly zones: string[];

  constructor(scope: Construct, id: string, config: AwsConfig, account: string, props: StackProps = {}) {
    super(scope, id, {
      ...props,
      env: { account, region: config.deployment.region },
      tags: tags(config, id),
      terminationProtection: true,
    });
    this.zones = config.deployment.zones;
    ceilings(this);
  }

  override get availabilityZones(): string[] {
    return this.zones;
  }
}
