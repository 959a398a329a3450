/** What runs in a cell's cluster of one Region. It names no other cell. */
import { cellTargets, ofRole, rolesOf } from '../../cdk/lib/cell-roles.ts';
import type { Role } from '../../cdk/lib/cell-roles.ts';
import { archiveRegion } from '../../cdk/lib/cells-toml.ts';
import { PORTS, PRIVATE_DOMAIN, archiveUrl } from '../../cdk/lib/names.ts';
import { onlyTheImage } from './only-the-image.ts';
import { TO_COLLECTOR, allow } from './policies.ts';
import type { Cell, Settings } from './settings.ts';
import { versionsRights } from './versions.ts';
import {
  MESH,
  OR_WAITING,
  asKubelet,
  asMonitor,
  at,
  binding,
  everyone,
  inZones,
  service,
  serviceAccount,
  traced,
} from './workload.ts';
import type { Manifest, Workload } from './workload.ts';

/** Writes a second that one core is sized for: an assumption, half of what it takes on a developer's machine. */
const OF_ONE_CORE = 2_500;
/** Of its rate, a process lets one part in so many go into new wallets: `ACCOUNTS_SHARE` in cell/src/admission.rs. */
const ACCOUNTS_SHARE = 4;
/** What a node of its own has. More than two cores are not measured. */
const CORES_MAX = 16;

export function cell(settings: Settings, one: Cell): Manifest[] {
  const roles = rolesOf(one);
  return [
    serviceAccount('cell'),
    ...roles.flatMap((role) => inZones(processes(settings, one, role), settings.place.zones)),
    ...onlyTheImage('cell'),
    ...versionsRights(settings, 'cell', roles),
    ...roles.flatMap((role) => {
      const served = { component: 'cell', role, port: 'mesh', number: PORTS.cell };
      const name = ofRole('cell', role);
      return [service(name, served), binding(name, served, cellTargets(role))];
    }),
    everyone('cell', 'mesh', PORTS.cell),
    allow('cell', {
      usesAws: true,
      from: [
        { to: 'network', port: PORTS.cell },
        { to: 'monitors', port: PORTS.cell },
      ],
      // Its tables: the network has no other way out than to AWS.
      to: [TO_COLLECTOR, { to: 'network', port: PORTS.internal }, { to: 'anywhere', port: 443 }],
    }),
  ];
}

/** Those of one role: one in each zone. */
function processes(settings: Settings, { id, max_tps, standby }: Cell, role: Role): Workload {
  const { config, place, traceRatio } = settings;
  const { namespace } = config.deployment;
  const { region, zones } = place;
  const { cores, share } = alone(id, max_tps, zones.length, role);
  return {
    component: 'cell',
    role,
    args: [
      'serve',
      `--id=${id}`,
      '--instance=$(POD_NAME)',
      `--listen=0.0.0.0:${PORTS.cell}`,
      `--router=https://router.${PRIVATE_DOMAIN}:${PORTS.internal}`,
      `--namespace=${namespace}`,
      `--region=${region}`,
      `--table-prefix=${id}-`,
      `--max-tps=${share}`,
      `--role=${role}`,
      // Until the tables say which Region serves, it is this one at home.
      ...(place.isHome ? [] : ['--standby']),
      `--archive=${archiveUrl(config)}`,
      `--checkpoint-key=${at('checkpoint', 'key.pem')}`,
      '--log-format=json',
      ...traced(traceRatio),
      ...MESH,
    ],
    env: { AWS_REGION: archiveRegion(config) },
    ports: { mesh: PORTS.cell },
    mounts: [
      { name: 'mesh', from: 'secret' },
      { name: 'monitor', from: 'secret' },
      { name: 'checkpoint', from: 'secret' },
    ],
    live: asKubelet('mesh'),
    ready: asMonitor('cell.wallet.internal', PORTS.cell, standby && OR_WAITING),
    cpu: String(cores),
    memory: '1Gi',
    replicas: 1,
  };
}

/**
 * A role has one process in a zone, so that its address in the registry is that of a process: it is asked, counted and
 * fenced by itself. The size of a zone is its cores, so that all zones but one carry the peak. As on one machine
 * (local-fleet/src/fleet.rs), the processes of one role share what the cell takes, and each role may take all of it.
 */
function alone(id: string, peak: number, zones: number, role: Role): { cores: number; share: number } {
  const share = Math.ceil(peak / (zones - 1));
  const writes = role === 'accounts' ? share / ACCOUNTS_SHARE : share;
  const cores = Math.max(1, Math.ceil(writes / OF_ONE_CORE));
  if (cores > CORES_MAX)
    throw new Error(
      `${id}: with max_tps = ${peak}, its process in a zone takes ${cores} cores, of at most ${CORES_MAX}: add a cell`,
    );
  return { cores, share };
}
