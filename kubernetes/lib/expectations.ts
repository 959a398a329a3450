/** What cells.toml asks of each stack's manifests. */
import type { AwsConfig } from '../../cdk/lib/deployment-config.ts';
import { cellTargets, rolesOf } from '../../cdk/lib/cell-roles.ts';
import type { Role } from '../../cdk/lib/cell-roles.ts';
import { archiveRegion } from '../../cdk/lib/cells-toml.ts';
import { targetsOf } from '../../cdk/lib/names.ts';
import { places, placesOf, stackOf } from '../../cdk/lib/places.ts';
import type { Place } from '../../cdk/lib/places.ts';

export interface Expected {
  /** `cell`, `router` or `control-plane`. */
  readonly component: string;
  /** In which they run. */
  readonly region: string;
  readonly zones: readonly string[];
  /** Whether this is the second Region, in which a cell waits until its tables say that it serves. */
  readonly isStandby: boolean;
  /** Whether a process that waits is as it should be: of a cell in two Regions. */
  readonly mayWait: boolean;
  /** The Region of the archive. */
  readonly archive: string;
  /** What its processes do, each role in each zone. */
  readonly roles: readonly Role[];
  /** Writes a second that all zones but one have to take, for each role; 0: none given. */
  readonly peak: number;
  /** Named outputs of the stack, which bindings may refer to. */
  readonly outputs: readonly string[];
}

export function expectations(config: AwsConfig): Map<string, Expected> {
  const total = config.cells.reduce((sum, { max_tps }) => sum + max_tps, 0);
  const all = ({ isHome, region, zones }: Place) => ({
    region,
    zones,
    archive: archiveRegion(config),
    isStandby: !isHome,
    mayWait: false,
    roles: ['all' as const],
  });
  const controlPlane = (place: Place): [string, Expected] => [
    stackOf('control-plane', place),
    { ...all(place), component: 'control-plane', peak: 0, outputs: ['ControlPlaneTargets'] },
  ];
  const router = (place: Place): [string, Expected] => [
    stackOf('router', place),
    {
      ...all(place),
      component: 'router',
      peak: total,
      outputs: [...place.zones.map(targetsOf), 'InternalTargets', ...(place.isHome ? ['AdminTargets'] : [])],
    },
  ];
  const cells = config.cells.flatMap((cell) =>
    placesOf(config, cell).map((place): [string, Expected] => [
      stackOf(cell.id, place),
      {
        ...all(place),
        component: 'cell',
        peak: cell.max_tps,
        roles: rolesOf(cell),
        outputs: rolesOf(cell).map(cellTargets),
        mayWait: cell.standby !== undefined,
      },
    ]),
  );
  return new Map([...places(config).flatMap((place) => [controlPlane(place), router(place)]), ...cells]);
}
