/**
 * A stack that knows its Region and its zones from cells.toml. `Vpc` would otherwise look them up in the account,
 * which needs credentials and, worse, answers for the account that asks.
 */
import { Stack } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { ceilings } from './ceilings.ts';
import type { AwsConfig } from './deployment-config.ts';
import { tags } from './names.ts';
import type { Place } from './places.ts';

export class ZonedStack extends Stack {
  private readonly zones: string[];

  constructor(
    scope: Construct,
    id: string,
    config: AwsConfig,
    { account, part, place }: { account: string; part: string; place: Place },
    props: StackProps = {},
  ) {
    super(scope, id, {
      ...props,
      env: { account, region: place.region },
      tags: tags(config, part),
      terminationProtection: true,
    });
    this.zones = [...place.zones];
    ceilings(this);
  }

  override get availabilityZones(): string[] {
    return this.zones;
  }
}
