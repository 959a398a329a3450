/** Which manifests belong into which stack's cluster. */
import { rolesOf } from '../../cdk/lib/cell-roles.ts';
import { KUBERNETES_NAMESPACE, LOGS_NAMESPACE, PORTS, clusterName, deployRole, roleArn } from '../../cdk/lib/names.ts';
import { places, placesOf, stackOf } from '../../cdk/lib/places.ts';
import { stringify } from '../../cdk/lib/yaml.ts';
import { bootstrap, configuration } from './bootstrap.ts';
import { cell } from './cell.ts';
import { collector } from './collector.ts';
import type { Collected } from './collector.ts';
import { controlPlane } from './control-plane.ts';
import { logs } from './logs.ts';
import { monitoring } from './monitoring.ts';
import { denyAll } from './policies.ts';
import { router } from './router.ts';
import { inPlace } from './settings.ts';
import type { Cell, Settings } from './settings.ts';
import { PROGRAMS, clusters, deployJob, firstImages, notStarted } from './versions.ts';
import type { Manifest } from './workload.ts';

/** By stack, by file. What is in a folder of its own is not applied with the rest: `first` before it, `deploy` after. */
export type Manifests = Map<string, Map<string, Manifest[]>>;

export function manifests(settings: Settings): Manifests {
  return new Map(
    places(settings.config).flatMap((place) => {
      const there = inPlace(settings, place);
      const cells = settings.config.cells.filter(({ standby }) => place.isHome || standby !== undefined);
      return [ofControlPlane(there), ofRouter(there), ...cells.map((one) => ofCell(there, one))];
    }),
  );
}

type OfStack = [stack: string, files: Map<string, Manifest[]>];

function ofControlPlane(settings: Settings): OfStack {
  const collected = {
    component: 'control-plane',
    port: PORTS.controlPlane,
    part: 'control-plane',
    stack: stackOf('control-plane', settings.place),
  } as const;
  // The first placement is made at home, and a version is brought from there.
  const ofHome: [string, Manifest[]][] = [
    ['1-bootstrap.yaml', bootstrap(settings)],
    ...PROGRAMS.map((of): [string, Manifest[]] => [`deploy/${of}.yaml`, deployJob(settings, of)]),
  ];
  const ofSecond: [string, Manifest[]][] = [['1-config.yaml', configuration(settings)], ...first(notStarted(settings))];
  return ofStack(settings, 'control-plane.yaml', controlPlane(settings), collected, [
    ['1-clusters.yaml', [clusters(settings)]],
    ...(settings.place.isHome ? ofHome : ofSecond),
  ]);
}

function ofRouter(settings: Settings): OfStack {
  const stack = stackOf('router', settings.place);
  const collected = { component: 'router', port: PORTS.admin, part: 'router', stack } as const;
  const more = settings.place.isHome ? first(firstImages(settings, 'router')) : [];
  return ofStack(settings, 'router.yaml', router(settings), collected, more);
}

function ofCell(settings: Settings, one: Cell): OfStack {
  const collected = {
    component: 'cell',
    port: PORTS.cell,
    part: one.id,
    stack: stackOf(one.id, settings.place),
  } as const;
  return ofStack(
    settings,
    'cell.yaml',
    cell(settings, one),
    collected,
    first(firstImages(settings, 'cell', rolesOf(one))),
  );
}

const first = (all: [string, Manifest][]) =>
  all.map(([name, made]): [string, Manifest[]] => [`first/${name}.yaml`, [made]]);

function ofStack(
  settings: Settings,
  file: string,
  own: Manifest[],
  collected: Collected,
  more: [string, Manifest[]][] = [],
): OfStack {
  const are = (kind: string) => own.filter((one) => one['kind'] === kind);
  return [
    collected.stack,
    new Map([
      ['0-namespace.yaml', ground()],
      // Both before any process: a pod gets the gate of a target group only if it is bound when the pod is made.
      ['1-services.yaml', are('Service')],
      ['bindings.yaml', are('TargetGroupBinding')],
      [file, own.filter((one) => !['Service', 'TargetGroupBinding'].includes(String(one['kind'])))],
      ['collector.yaml', collector(settings, collected)],
      ['logs.yaml', logs(settings, collected)],
      ['monitoring.yaml', monitoring(settings, collected)],
      ...more,
    ]),
  ];
}

/** Names what has to be there before, a line each; cdk/scripts/apply looks. */
const NEEDS = 'needs';
/** The clusters that cdk/scripts/apply has to look up, each with the role that may, and its Region. */
const CLUSTERS = 'clusters';
/** Of a cell in two Regions: its processes may wait, and cdk/scripts/apply keeps those at the version of settings.json. */
const MAY_WAIT = 'may-wait';
/** Files beside the manifests. */
export const BESIDE: readonly string[] = [NEEDS, CLUSTERS, MAY_WAIT];

/** What pods cannot start without and the manifests do not make. */
function needs(documents: Manifest[]): string {
  // Shapes that this folder itself has made.
  const all = documents as any[];
  const made = all.filter((one) => one.kind === 'ConfigMap').map((one) => `configmap/${one.metadata.name}`);
  const pods = all.map((one) => one.spec?.template?.spec).filter((pod) => pod !== undefined);
  const keys = pods
    .flatMap(({ containers }) => containers as any[])
    .flatMap(({ env = [] }) => env as any[])
    .flatMap(({ valueFrom }) => (valueFrom?.secretKeyRef ? [`secret/${valueFrom.secretKeyRef.name}`] : []));
  const wanted = pods
    .flatMap(({ volumes = [] }) => volumes as any[])
    .filter(({ secret, configMap }) => (secret ?? configMap)?.optional !== true)
    .flatMap(({ secret, configMap }) => [
      ...(secret ? [`secret/${secret.secretName}`] : []),
      ...(configMap ? [`configmap/${configMap.name}`] : []),
    ])
    .filter((one) => !made.includes(one));
  return [...new Set([...wanted, ...keys])]
    .sort()
    .map((one) => `${one}\n`)
    .join('');
}

/** Files as they are written. */
export function written(settings: Settings): Map<string, string> {
  const all = manifests(settings);
  const { config } = settings;
  const files = new Map<string, string>();
  for (const [stack, ofStack] of all) {
    for (const [file, documents] of ofStack) {
      const text = documents.map((one) => stringify(one, { lineWidth: 0, aliasDuplicateObjects: false })).join('---\n');
      files.set(`${stack}/${file}`, `# Generated from cells.toml by kubernetes/generate.ts: do not edit.\n${text}`);
    }
    files.set(`${stack}/${NEEDS}`, needs([...ofStack.values()].flat()));
  }
  const ofCells = config.cells.flatMap((one) =>
    placesOf(config, one).map((place) => {
      const stack = stackOf(one.id, place);
      if (one.standby) files.set(`${stack}/${MAY_WAIT}`, one.id + '\n');
      return `${clusterName(config, stack)} ${roleArn(one.account, deployRole(config, stack))} ${place.region}\n`;
    }),
  );
  const role = roleArn(config.aws.router_account, deployRole(config, 'router'));
  const ofRouters = `${clusterName(config, 'router')} ${role} ${config.deployment.region}\n`;
  for (const place of places(config))
    files.set(`${stackOf('control-plane', place)}/${CLUSTERS}`, [...ofCells, ofRouters].join(''));
  return files;
}

/**
 * Applied before the rest, by the order of names: the namespaces, and that nothing is let through in
 * them.
 */
const ground = (): Manifest[] => [
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: KUBERNETES_NAMESPACE,
      labels: {
        'pod-security.kubernetes.io/enforce': 'restricted',
        'pod-security.kubernetes.io/enforce-version': 'latest',
        // EKS Auto Mode lets a pod be ready only when its load balancer's target is.
        'eks.amazonaws.com/pod-readiness-gate-inject': 'enabled',
      },
    },
  },
  // EKS Auto Mode enforces network policies only where that is configured.
  {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'amazon-vpc-cni', namespace: 'kube-system' },
    data: { 'enable-network-policy-controller': 'true' },
  },
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: LOGS_NAMESPACE,
      // No narrower level lets a pod read a folder of its node.
      labels: { 'pod-security.kubernetes.io/enforce': 'privileged' },
    },
  },
  ...[KUBERNETES_NAMESPACE, LOGS_NAMESPACE].map(denyAll),
];
