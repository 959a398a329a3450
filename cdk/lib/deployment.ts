/**
 * All stacks of a deployment, as cells.toml describes it: the control plane's, the router's, and one for each cell, each
 * in an account of its own. It must never build anything that depends on the order of the cells in the file.
 */
import type { Construct } from 'constructs';
import { CellStack } from './cell-stack.ts';
import type { CellConfig, Config } from './cells-toml.ts';
import { ControlPlaneStack } from './control-plane-stack.ts';
import { RouterStack } from './router-stack.ts';

/** What AWS asks for beyond what the processes do. */
const MIN_ZONES = 2;

export type AwsConfig = Omit<Config, 'aws' | 'cells'> & {
  aws: NonNullable<Config['aws']>;
  cells: (CellConfig & { account: string })[];
};

/**
 * Names of the endpoint services behind which the others' private addresses are: of each cell, of `router` and of
 * `control-plane`. They exist once the stack that offers one has been deployed; until then nobody connects to it.
 */
export type PrivateServices = Readonly<Record<string, string>>;

export interface Settings {
  readonly config: AwsConfig;
  readonly services: PrivateServices;
}

/** The configuration, if it is one for AWS. */
export function onAws(config: Config): AwsConfig {
  if (!config.aws) throw new Error('cells.toml has no [aws]: there is nothing to build on AWS');
  const { zones } = config.deployment;
  if (zones.length < MIN_ZONES) throw new Error(`deployment.zones has ${zones.length}; on AWS at least ${MIN_ZONES}`);
  return config as AwsConfig;
}

export const controlPlane = (scope: Construct, settings: Settings) =>
  new ControlPlaneStack(scope, 'control-plane', settings, {
    stackName: `${settings.config.deployment.name}-control-plane`,
  });

export const router = (scope: Construct, settings: Settings) =>
  new RouterStack(scope, 'router', settings, { stackName: `${settings.config.deployment.name}-router` });

export const cell = (scope: Construct, settings: Settings, id: string) =>
  new CellStack(scope, id, settings, id, { stackName: `${settings.config.deployment.name}-${id}` });

export function all(scope: Construct, settings: Settings): void {
  controlPlane(scope, settings);
  router(scope, settings);
  for (const { id } of settings.config.cells) cell(scope, settings, id);
}
