/** What cells.toml asks of each stack's manifests. */
import type { AwsConfig } from '../../cdk/lib/deployment-config.ts';
import { targetsOf } from '../../cdk/lib/names.ts';
import type { Expected } from './invariants.ts';

export function expectations({ cells, deployment: { zones } }: AwsConfig): Map<string, Expected> {
  const total = cells.reduce((sum, { max_tps }) => sum + max_tps, 0);
  return new Map([
    ['control-plane', { component: 'control-plane', zones, peak: 0, outputs: ['ControlPlaneTargets'] }],
    ['router', { component: 'router', zones, peak: total, outputs: [...zones.map(targetsOf), 'InternalTargets'] }],
    ...cells.map(({ id, max_tps }): [string, Expected] => [
      id,
      { component: 'cell', zones, peak: max_tps, outputs: ['CellTargets'] },
    ]),
  ]);
}
