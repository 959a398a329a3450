/** A cells.toml that describes a deployment on AWS: what AWS asks for beyond what the processes do. */
import { regionOf } from './cells-toml.ts';
import type { CellConfig, Config } from './cells-toml.ts';

const MIN_ZONES = 2;
/** The longest name made of it and a cell's id is that of a role, of 64 characters. */
const NAME = /^[a-z][a-z0-9-]{0,23}$/;
/** Stacks of these names are there already. */
const RESERVED = ['archive', 'control-plane', 'router', 'pipeline'];

export type AwsConfig = Omit<Config, 'aws' | 'cells'> & {
  aws: NonNullable<Config['aws']>;
  cells: (CellConfig & { account: string })[];
};

/** The configuration, if it is one for AWS. */
export function onAws(config: Config): AwsConfig {
  if (!config.aws) throw new Error('cells.toml has no [aws]: there is nothing to build on AWS');
  const { name, region, zones } = config.deployment;
  if (!NAME.test(name))
    throw new Error(
      `deployment.name is part of names on AWS: 1 to 24 of a-z, 0-9 and '-', not ${JSON.stringify(name)}`,
    );
  if (zones.length < MIN_ZONES) throw new Error(`deployment.zones has ${zones.length}; on AWS at least ${MIN_ZONES}`);
  const stray = zones.find((zone) => !zone.startsWith(region));
  if (stray !== undefined) throw new Error(`zone ${stray} is not of region ${region}`);
  const taken = config.cells.find(({ id }) => RESERVED.includes(id));
  if (taken) throw new Error(`a cell cannot be called ${taken.id}: a stack is`);
  const elsewhere = config.cells.find((cell) => regionOf(config, cell) !== region);
  if (elsewhere) throw new Error(`${elsewhere.id} is in ${elsewhere.region}: clusters are built in ${region} alone`);
  return config as AwsConfig;
}

/**
 * Names of the endpoint services behind which the others' private addresses are: of each cell, of `router` and of
 * `control-plane`. They exist once the stack that offers one has been deployed; until then nothing connects to it.
 */
export type PrivateServices = Readonly<Record<string, string>>;

export interface Settings {
  readonly config: AwsConfig;
  readonly services: PrivateServices;
}
