/** What runs in a cell's cluster of one Region. It names no other cell. */
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
import type { Manifest } from './workload.ts';

/** Writes a second that one core is sized for: an assumption, half of what it takes on a developer's machine. */
const OF_ONE_CORE = 2_500;
/** What a node of its own has. More than two cores are not measured. */
const CORES_MAX = 16;

export function cell(settings: Settings, { id, max_tps, standby }: Cell): Manifest[] {
  const { config, place, traceRatio } = settings;
  const { namespace } = config.deployment;
  const { region, zones } = place;
  const { cores, share } = alone(id, max_tps, zones.length);
  const served = { component: 'cell', port: 'mesh', number: PORTS.cell };
  return [
    serviceAccount('cell'),
    ...inZones(
      {
        component: 'cell',
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
          '--role=all',
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
      },
      zones,
    ),
    ...onlyTheImage('cell'),
    ...versionsRights(settings, 'cell'),
    service('cell', served),
    binding('cell', served, 'CellTargets'),
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

/**
 * A zone has one process, so that its address in the registry is that of a process: it is asked, counted and fenced by
 * itself. The size of a zone is its cores, so that all zones but one carry the peak.
 */
function alone(id: string, peak: number, zones: number): { cores: number; share: number } {
  const share = Math.ceil(peak / (zones - 1));
  const cores = Math.max(1, Math.ceil(share / OF_ONE_CORE));
  if (cores > CORES_MAX)
    throw new Error(
      `${id}: with max_tps = ${peak}, its process in a zone takes ${cores} cores, of at most ${CORES_MAX}: add a cell`,
    );
  return { cores, share };
}
