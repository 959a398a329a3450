/** What runs in the routers' cluster. */
import { cellPorts } from '../../cdk/lib/cell-roles.ts';
import { PORTS, PRIVATE_DOMAIN, targetsOf } from '../../cdk/lib/names.ts';
import { places, stackOf } from '../../cdk/lib/places.ts';
import { TO_COLLECTOR, allow } from './policies.ts';
import { onlyTheImage } from './only-the-image.ts';
import type { Settings } from './settings.ts';
import { versionsRights } from './versions.ts';
import {
  MESH,
  asKubelet,
  asMonitor,
  at,
  binding,
  everyone,
  inZones,
  service,
  serviceAccount,
  sized,
  traced,
} from './workload.ts';
import type { Manifest } from './workload.ts';

/** Writes a second that one process is sized for, on two threads: an assumption. */
const OF_ONE = 20_000;
const THREADS = 2;
const DATA = '/var/lib/wallet';

export function router(settings: Settings): Manifest[] {
  const { config, place, routerVersion, routerVersions, tokens, traceRatio } = settings;
  const { isHome, zones } = place;
  const { namespace } = config.deployment;
  // The one of home first: the other is there when that is lost.
  const controlPlanes = places(config).map(
    (place) => `https://${stackOf('control-plane', place)}.${PRIVATE_DOMAIN}:${PORTS.controlPlane}`,
  );
  const peak = config.cells.reduce((sum, { max_tps }) => sum + max_tps, 0);
  const { replicas, share } = sized(peak, OF_ONE, zones.length, 2);
  const inside = { component: 'router', port: 'internal', number: PORTS.internal };
  const looked = { component: 'router', port: 'admin', number: PORTS.admin };
  const work = {
    component: 'router',
    // In the second Region no customer asks, so nothing could judge a version: it comes with the manifests.
    ...(!isHome && { image: routerVersions[routerVersion]! }),
    args: [
      `--listen=0.0.0.0:${PORTS.public}`,
      `--internal-listen=0.0.0.0:${PORTS.internal}`,
      `--admin-listen=0.0.0.0:${PORTS.admin}`,
      `--control-plane=${controlPlanes.join(',')}`,
      `--peers=https://everyone:${PORTS.admin}`,
      `--data-dir=${DATA}/router`,
      `--namespace=${namespace}`,
      `--threads=${THREADS}`,
      `--max-tps=${share}`,
      '--log-format=json',
      ...traced(traceRatio),
      `--tls-cert=${at('public', 'tls.crt')}`,
      `--tls-key=${at('public', 'tls.key')}`,
      ...MESH,
      `--auth-jwks=${at('tokens', 'jwks.json')}`,
      `--auth-issuer=${tokens.issuer}`,
      `--auth-audience=${tokens.audience}`,
    ],
    ports: { public: PORTS.public, internal: PORTS.internal, admin: PORTS.admin },
    mounts: [
      { name: 'mesh', from: 'secret' },
      { name: 'monitor', from: 'secret' },
      { name: 'public', from: 'secret' },
      { name: 'tokens', from: 'configMap' },
    ],
    data: DATA,
    live: asKubelet('admin'),
    ready: asMonitor('router.wallet.internal', PORTS.admin),
    cpu: String(THREADS),
    memory: '512Mi',
    replicas,
  } as const;
  return [
    serviceAccount('router'),
    ...zones.flatMap((zone) => inZones({ ...work, env: { ROUTER_ZONE: zone } }, [zone]).slice(0, 1)),
    ...inZones(work, []),
    ...zones.flatMap((zone) => {
      const served = { component: 'router', port: 'public', number: PORTS.public, zone };
      return [service(`public-${zone}`, served), binding(`public-${zone}`, served, targetsOf(zone))];
    }),
    service('internal', inside),
    binding('internal', inside, 'InternalTargets'),
    ...(isHome
      ? [
          service('admin', looked),
          binding('admin', looked, 'AdminTargets'),
          ...onlyTheImage('router'),
          ...versionsRights(settings, 'router'),
        ]
      : []),
    everyone('router', 'admin', PORTS.admin),
    allow('router', {
      usesAws: false,
      from: [
        { to: 'anywhere', port: PORTS.public },
        { to: 'network', port: PORTS.internal },
        // The control plane, which judges versions.
        ...(isHome ? [{ to: 'network', port: PORTS.admin } as const] : []),
        { to: 'monitors', port: PORTS.admin },
        { to: { component: 'router' }, port: PORTS.admin },
      ],
      to: [
        TO_COLLECTOR,
        ...cellPorts(config).map((port) => ({ to: 'network', port }) as const),
        { to: 'network', port: PORTS.controlPlane },
        { to: { component: 'router' }, port: PORTS.admin },
      ],
    }),
  ];
}
