/**
 * What the processes of a cell do: each does everything, or some keep accounts and others move money (docs/adr/0012).
 * A cell has a process of each of its roles in each zone, with an address of its own. This must never know what is built
 * for one.
 */
import type { CellConfig, Config } from './cells-toml.ts';
import type { AwsConfig } from './deployment-config.ts';
import { PORTS, PRIVATE_DOMAIN } from './names.ts';
import { placesOf, stackOf } from './places.ts';
import type { Place } from './places.ts';

export type Role = CellConfig['instances'][number]['role'];

/** Those of a cell that is split. */
const SPLIT = ['transactions', 'accounts'] as const;

const isSplit = (instances: CellConfig['instances']) => instances.some(({ role }) => role !== 'all');

/** In both of its Regions: `onAws` refuses anything else. */
export const rolesOf = ({ instances }: Pick<CellConfig, 'instances'>): readonly Role[] =>
  isSplit(instances) ? SPLIT : ['all'];

/** Where a role is reached in each zone: a port of the cell's load balancer. Its processes listen on `PORTS.cell`. */
export const portOf = (role: Role) => (role === 'accounts' ? PORTS.accounts : PORTS.cell);

/** Where the cells of a deployment are reached. */
export const cellPorts = ({ cells }: Pick<Config, 'cells'>): number[] =>
  [...new Set(cells.flatMap((cell) => rolesOf(cell).map(portOf)))].sort((one, other) => one - other);

/** The name of what there is once for each role: of a cell that is not split, the plain one. */
export const ofRole = (name: string, role: Role) => (role === 'all' ? name : `${name}-${role}`);

/** The output with the ARN of a role's target group. */
export const cellTargets = (role: Role) =>
  ({ all: 'CellTargets', transactions: 'TransactionsTargets', accounts: 'AccountsTargets' })[role];

/**
 * What is wrong with the roles in a cells.toml, if anything is. An address of a split cell leads to one role. With the
 * wrong one in the registry, requests would be refused there, and a version would be brought to the other process.
 */
export function brokenRoles(config: AwsConfig): string | undefined {
  for (const cell of config.cells) {
    const { id, instances, standby } = cell;
    if (standby && isSplit(standby.instances) !== isSplit(instances))
      return `${id}: roles are split in one of its Regions: split them in both, or in neither`;
    if (!isSplit(instances)) continue;
    for (const place of placesOf(config, cell)) {
      const what = brokenAt(stackOf(id, place), place, place.isHome ? instances : standby!.instances);
      if (what !== undefined) return `${id}: ${what}`;
    }
  }
  return undefined;
}

function brokenAt(stack: string, { zones }: Place, instances: CellConfig['instances']): string | undefined {
  const wanted = zones.flatMap((zone) =>
    SPLIT.map((role) => ({ zone, role, address: `${zone}.${stack}.${PRIVATE_DOMAIN}:${portOf(role)}` })),
  );
  const isLike = (one: (typeof wanted)[number], other: CellConfig['instances'][number]) =>
    one.zone === other.zone && one.role === other.role && one.address === other.address;
  const missing = wanted.find((one) => !instances.some((other) => isLike(one, other)));
  if (missing)
    return `roles are split, so there has to be an instance { address = "${missing.address}", role = "${missing.role}", zone = "${missing.zone}" }`;
  const stray = instances.find((one, at) => {
    const again = instances.findIndex(({ address }) => address === one.address) < at;
    return again || !wanted.some((other) => isLike(other, one));
  });
  return stray && `roles are split, and instance ${stray.address} is none of one role in each zone`;
}
