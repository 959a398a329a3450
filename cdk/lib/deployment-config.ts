/** A cells.toml that describes a deployment on AWS: what AWS asks for beyond what the processes do. */
import type { CellConfig, Config } from './cells-toml.ts';

const MIN_ZONES = 2;

export type AwsConfig = Omit<Config, 'aws' | 'cells'> & {
  aws: NonNullable<Config['aws']>;
  cells: (CellConfig & { account: string })[];
};

/** The configuration, if it is one for AWS. */
export function onAws(config: Config): AwsConfig {
  if (!config.aws) throw new Error('cells.toml has no [aws]: there is nothing to build on AWS');
  const { zones } = config.deployment;
  if (zones.length < MIN_ZONES) throw new Error(`deployment.zones has ${zones.length}; on AWS at least ${MIN_ZONES}`);
  return config as AwsConfig;
}
