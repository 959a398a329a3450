/** What cells.toml asks of each stack's manifests. */
import type { AwsConfig } from '../../cdk/lib/deployment-config.ts';
import { archiveRegion } from '../../cdk/lib/cells-toml.ts';
import { targetsOf } from '../../cdk/lib/names.ts';
import type { Expected } from './invariants.ts';

export function expectations(config: AwsConfig): Map<string, Expected> {
  const { zones } = config.deployment;
  const all = { zones, archive: archiveRegion(config) };
  const total = config.cells.reduce((sum, { max_tps }) => sum + max_tps, 0);
  return new Map([
    ['control-plane', { ...all, component: 'control-plane', peak: 0, outputs: ['ControlPlaneTargets'] }],
    ['router', { ...all, component: 'router', peak: total, outputs: [...zones.map(targetsOf), 'InternalTargets'] }],
    ...config.cells.map(({ id, max_tps }): [string, Expected] => [
      id,
      { ...all, component: 'cell', peak: max_tps, outputs: ['CellTargets'] },
    ]),
  ]);
}
