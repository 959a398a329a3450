/**
 * All stacks of a deployment, as cells.toml describes it: the archive's, the control plane's, the router's, and one for
 * each cell, each in an account of its own; a cell with a standby has one more, in the second Region, where images are
 * copied to. It must never build anything that depends on the order of the cells in the file.
 */
import type { Construct } from 'constructs';
import { ArchiveStack } from './archive-stack.ts';
import { CellStack } from './cell-stack.ts';
import { ControlPlaneStack } from './control-plane-stack.ts';
import { CopiesStack } from './copies-stack.ts';
import type { Settings } from './deployment-config.ts';
import { home, placesOf, second, stackOf } from './places.ts';
import type { Place } from './places.ts';
import { RouterStack } from './router-stack.ts';

export const archive = (scope: Construct, settings: Settings) =>
  new ArchiveStack(scope, 'archive', settings, { stackName: `${settings.config.deployment.name}-archive` });

/** Before the control plane of home, which copies to it. */
export const copies = (scope: Construct, settings: Settings, place: Place) =>
  new CopiesStack(scope, settings, place, {
    stackName: `${settings.config.deployment.name}-${stackOf('copies', place)}`,
  });

export const controlPlane = (scope: Construct, settings: Settings, place: Place = home(settings.config)) =>
  new ControlPlaneStack(scope, settings, place, {
    stackName: `${settings.config.deployment.name}-${stackOf('control-plane', place)}`,
  });

/** In the second Region, it adds to a role that the routers' stack at home makes. */
export const router = (scope: Construct, settings: Settings, place: Place = home(settings.config)) =>
  new RouterStack(scope, settings, place, {
    stackName: `${settings.config.deployment.name}-${stackOf('router', place)}`,
  });

/** In its second Region, it adds to a role that its stack at home makes. */
export const cell = (scope: Construct, settings: Settings, id: string, place: Place = home(settings.config)) =>
  new CellStack(scope, settings, id, place, { stackName: `${settings.config.deployment.name}-${stackOf(id, place)}` });

export function all(scope: Construct, settings: Settings): void {
  archive(scope, settings);
  const control = controlPlane(scope, settings);
  const other = second(settings.config);
  if (other) {
    control.addStackDependency(copies(scope, settings, other));
    controlPlane(scope, settings, other).addStackDependency(control);
  }
  const routers = router(scope, settings);
  if (other) router(scope, settings, other).addStackDependency(routers);
  for (const entry of settings.config.cells) {
    const [first, second] = placesOf(settings.config, entry).map((place) => cell(scope, settings, entry.id, place));
    second?.addStackDependency(first!);
  }
}
