/**
 * All stacks of a deployment, as cells.toml describes it: the archive's, the control plane's, the router's, and one for
 * each cell, each in an account of its own; a cell with a standby has one more, in its second Region. It must never
 * build anything that depends on the order of the cells in the file.
 */
import type { Construct } from 'constructs';
import { ArchiveStack } from './archive-stack.ts';
import { CellStack } from './cell-stack.ts';
import { ControlPlaneStack } from './control-plane-stack.ts';
import { standbys } from './deployment-config.ts';
import type { Settings, Standby } from './deployment-config.ts';
import { standbyStack } from './names.ts';
import { RouterStack } from './router-stack.ts';
import { StandbyStack } from './standby-stack.ts';

export const archive = (scope: Construct, settings: Settings) =>
  new ArchiveStack(scope, 'archive', settings, { stackName: `${settings.config.deployment.name}-archive` });

export const controlPlane = (scope: Construct, settings: Settings) =>
  new ControlPlaneStack(scope, 'control-plane', settings, {
    stackName: `${settings.config.deployment.name}-control-plane`,
  });

export const router = (scope: Construct, settings: Settings) =>
  new RouterStack(scope, 'router', settings, { stackName: `${settings.config.deployment.name}-router` });

export const cell = (scope: Construct, settings: Settings, id: string) =>
  new CellStack(scope, id, settings, id, { stackName: `${settings.config.deployment.name}-${id}` });

/** It adds to a role that the cell's own stack makes. */
export const standby = (scope: Construct, settings: Settings, one: Standby) =>
  new StandbyStack(scope, settings, one, {
    stackName: `${settings.config.deployment.name}-${standbyStack(one.cell, one.region)}`,
  });

export function all(scope: Construct, settings: Settings): void {
  archive(scope, settings);
  controlPlane(scope, settings);
  router(scope, settings);
  const cells = new Map(settings.config.cells.map(({ id }) => [id, cell(scope, settings, id)]));
  for (const one of standbys(settings.config)) {
    standby(scope, settings, one).addStackDependency(cells.get(one.cell)!);
  }
}
