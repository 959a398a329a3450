/**
 * What runs in the control plane's cluster: a process in each zone; which of them does a step is
 * decided in its tables. Its configuration and its account are made before, for bootstrap.ts. In the
 * second Region it is created with no process, and applying it again starts and stops none.
 */
import { cellPorts } from '../../cdk/lib/cell-roles.ts';
import { archiveRegion } from '../../cdk/lib/cells-toml.ts';
import { PORTS, archiveUrl } from '../../cdk/lib/names.ts';
import { CONTROL_PLANE_ADDRESS } from '../../cdk/lib/network/addresses.ts';
import { CANARIES_MOUNT, canaries } from './canaries.ts';
import { TO_COLLECTOR, allow } from './policies.ts';
import type { Settings } from './settings.ts';
import { CLUSTERS_FILE, DEPLOY, namedRouters } from './versions.ts';
import { MESH, asKubelet, at, binding, everyone, inZones, service, traced } from './workload.ts';
import type { Manifest } from './workload.ts';

/** Between two audits of whether all money is there: each reads what the archives have that is new. */
const AUDIT_SECONDS = 60;

export function controlPlane(settings: Settings): Manifest[] {
  const { config, images, place, text, tokens, switches, traceRatio } = settings;
  const { region, zones } = place;
  const checks = Object.entries(switches).map(([zone, check]) => `${zone}=${check}`);
  const served = { component: 'control-plane', port: 'api', number: PORTS.controlPlane };
  return [
    ...inZones(
      {
        component: 'control-plane',
        image: images['control-plane'],
        args: [
          `--config=${at('config', 'cells.toml')}`,
          `--region=${region}`,
          '--table-prefix=control-',
          `--listen=0.0.0.0:${PORTS.controlPlane}`,
          `--archive=${archiveUrl(config)}`,
          `--checkpoint-keys=/etc/wallet/checkpoint-keys`,
          `--conservation-seconds=${AUDIT_SECONDS}`,
          `--deploy-kubernetes=${CLUSTERS_FILE}`,
          ...(place.isHome ? [`--routers=${namedRouters(settings)}`] : []),
          ...canaries(settings),
          ...(checks.length > 0 ? [`--route53-health-checks=${checks.join(',')}`] : []),
          '--log-format=json',
          ...traced(traceRatio),
          ...MESH,
          `--auth-jwks=${at('tokens', 'jwks.json')}`,
          `--auth-issuer=${tokens.issuer}`,
          `--auth-audience=${tokens.audience}`,
          'serve',
        ],
        env: { AWS_REGION: archiveRegion(config) },
        ports: { api: PORTS.controlPlane },
        mounts: [
          { name: 'mesh', from: 'secret' },
          { name: 'config', from: 'configMap' },
          CANARIES_MOUNT,
          { name: 'clusters', from: 'configMap' },
          { name: 'tokens', from: 'configMap' },
          { name: 'checkpoint-keys', from: 'configMap', optional: true },
        ],
        live: asKubelet('api'),
        ready: asKubelet('api'),
        cpu: '500m',
        memory: '512Mi',
        // In the second Region, an operator starts it (cdk/scripts/take-over).
        ...(place.isHome && { replicas: 1 }),
        restartOn: text,
      },
      zones,
    ),
    service('control-plane', { ...served, address: CONTROL_PLANE_ADDRESS }),
    binding('control-plane', served, 'ControlPlaneTargets'),
    everyone('control-plane', 'api', PORTS.controlPlane),
    // The jobs that ask for versions.
    ...(place.isHome
      ? [
          allow(DEPLOY, {
            usesAws: false,
            from: [],
            to: [{ to: { component: 'control-plane' }, port: PORTS.controlPlane }],
          }),
        ]
      : []),
    allow('control-plane', {
      usesAws: true,
      from: [
        { to: 'network', port: PORTS.controlPlane },
        { to: 'monitors', port: PORTS.controlPlane },
        { to: { component: DEPLOY }, port: PORTS.controlPlane },
      ],
      // AWS, and the public address for canaries.
      to: [
        TO_COLLECTOR,
        ...cellPorts(config).map((port) => ({ to: 'network', port }) as const),
        { to: 'network', port: PORTS.admin },
        { to: 'anywhere', port: 443 },
      ],
    }),
  ];
}
