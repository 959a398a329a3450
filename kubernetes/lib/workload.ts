/**
 * What all our processes have in common as they run on Kubernetes: one deployment for each zone with a fixed number of
 * processes, so that nothing has to be started when a zone is lost; no rights; probes; a calm end.
 */
import { createHash } from 'node:crypto';
import { ofRole } from '../../cdk/lib/cell-roles.ts';
import type { Role } from '../../cdk/lib/cell-roles.ts';
import { COLLECTOR, KUBERNETES_NAMESPACE as NAMESPACE, OTLP_PORT } from '../../cdk/lib/names.ts';

export type Manifest = Record<string, unknown>;

/**
 * Before a process is stopped: until no load balancer opens a connection to it any more. A network load balancer does so
 * for two minutes after a target was taken out of its group, however short the group's delay is.
 */
export const PRE_STOP_SECONDS = 130;
/** Longer than that and the 9 s that cells and routers drain. */
export const GRACE_SECONDS = 160;
export const USER = 65_532;
const SECRETS = '/etc/wallet';

/** Folder → Secret or ConfigMap that is mounted there. */
export interface Mount {
  readonly name: string;
  readonly from: 'secret' | 'configMap';
  readonly optional?: boolean;
}

export interface Workload {
  readonly component: string;
  /** None: everything. */
  readonly role?: Role;
  /** None: `ctl deploy` alone says which (versions.ts). */
  readonly image?: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly ports: Readonly<Record<string, number>>;
  readonly mounts: readonly Mount[];
  /** Folder that outlives the process, but not the pod. */
  readonly data?: string;
  readonly live: (path: '/livez') => Manifest;
  readonly ready: (path: '/readyz') => Manifest;
  readonly cpu: string;
  readonly memory: string;
  /** None: what has started it says how many (versions.ts). */
  readonly replicas?: number;
  /** What else of the deployment's content has to restart it. */
  readonly restartOn?: string;
}

export const at = (folder: string, file: string) => `${SECRETS}/${folder}/${file}`;

/** Flags by which a process proves its role. */
export const MESH = [
  `--mesh-ca=${at('mesh', 'ca.crt')}`,
  `--mesh-cert=${at('mesh', 'tls.crt')}`,
  `--mesh-key=${at('mesh', 'tls.key')}`,
];

/** Flags by which a process sends spans to the collector beside it. What that does not take is dropped and counted. */
export const traced = (ratio: number) => [`--otlp-endpoint=http://${COLLECTOR}:${OTLP_PORT}`, `--trace-ratio=${ratio}`];

/** Kubelet asks whether the process lives, and shows no certificate: none that has ended may get the process killed. */
export const asKubelet =
  (port: string) =>
  (path: string): Manifest => ({ httpGet: { path, port, scheme: 'HTTPS' } });

/**
 * Of a cell in two Regions, the processes of one wait: these are as they should be, and behind their load balancer when
 * their Region is to serve (cell/src/http/standby.rs).
 */
export const OR_WAITING = '?or=waiting';

/**
 * Asked from inside the pod: the port wants a certificate, and kubelet has none. The monitor's may look at health only.
 */
export const asMonitor =
  (role: string, port: number, query = '') =>
  (path: string): Manifest => ({
    exec: {
      command: [
        'curl',
        '--silent',
        '--show-error',
        '--fail',
        '--output',
        '/dev/null',
        '--max-time',
        '2',
        '--noproxy',
        '*',
        '--cacert',
        at('monitor', 'ca.crt'),
        '--cert',
        at('monitor', 'tls.crt'),
        '--key',
        at('monitor', 'tls.key'),
        '--resolve',
        `${role}:${port}:127.0.0.1`,
        `https://${role}:${port}${path}${query}`,
      ],
    },
  });

export const metadata = (name: string, component: string, labels: Record<string, string> = {}) => ({
  name,
  namespace: NAMESPACE,
  labels: { 'app.kubernetes.io/name': component, 'app.kubernetes.io/part-of': 'wallet', ...labels },
});

/** The deployments of all zones, and the one budget for disruptions over them. */
export function inZones(work: Workload, zones: readonly string[]): Manifest[] {
  return [...zones.map((zone) => deployment(work, zone)), budget(work)];
}

export function restricted(): Manifest {
  return { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } };
}

export const podSecurity = () => ({
  runAsNonRoot: true,
  runAsUser: USER,
  runAsGroup: USER,
  fsGroup: USER,
  seccompProfile: { type: 'RuntimeDefault' },
});

/** The name of a zone's deployment, and by what it knows its pods. */
export function selected(component: string, zone: string, role?: Role) {
  const labels = { zone, ...labelled(role) };
  const name = ofRole(`${component}-${zone}`, role ?? 'all');
  return { name, labels, selector: { 'app.kubernetes.io/name': component, ...labels } };
}

/** Tells pods of one zone apart, where there are several roles. */
const labelled = (role: Role = 'all'): Record<string, string> => (role === 'all' ? {} : { role });

function deployment(work: Workload, zone: string): Manifest {
  const { name, labels, selector } = selected(work.component, zone, work.role);
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadata(name, work.component, labels),
    spec: {
      ...(work.replicas !== undefined && { replicas: work.replicas }),
      revisionHistoryLimit: 3,
      progressDeadlineSeconds: 600,
      selector: { matchLabels: selector },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: {
        metadata: {
          labels: { ...selector, 'app.kubernetes.io/part-of': 'wallet' },
          ...(work.restartOn !== undefined && { annotations: { 'wallet/content': digest(work.restartOn) } }),
        },
        spec: {
          serviceAccountName: work.component,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          nodeSelector: { 'topology.kubernetes.io/zone': zone },
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: 'kubernetes.io/hostname',
              whenUnsatisfiable: 'DoNotSchedule',
              // A node that is being drained takes none, so it must not count as one with room.
              nodeTaintsPolicy: 'Honor',
              labelSelector: { matchLabels: selector },
            },
          ],
          terminationGracePeriodSeconds: GRACE_SECONDS,
          securityContext: podSecurity(),
          containers: [container(work)],
          volumes: [
            ...work.mounts.map(({ name, from, optional }) =>
              from === 'secret'
                ? { name, secret: { secretName: name, defaultMode: 0o440, ...(optional && { optional }) } }
                : { name, configMap: { name, ...(optional && { optional }) } },
            ),
            ...(work.data === undefined ? [] : [{ name: 'data', emptyDir: { sizeLimit: '256Mi' } }]),
          ],
        },
      },
    },
  };
}

function container(work: Workload): Manifest {
  const { component, image, args, env = {}, ports, mounts, data, live, ready, cpu, memory } = work;
  return {
    name: component,
    ...(image !== undefined && { image }),
    args: [...args],
    env: [
      { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      ...Object.entries(env).map(([name, value]) => ({ name, value })),
    ],
    ports: Object.entries(ports).map(([name, containerPort]) => ({ name, containerPort, protocol: 'TCP' })),
    resources: { requests: { cpu, memory }, limits: { memory } },
    startupProbe: { ...live('/livez'), periodSeconds: 2, failureThreshold: 30, timeoutSeconds: 3 },
    livenessProbe: { ...live('/livez'), periodSeconds: 10, failureThreshold: 3, timeoutSeconds: 3 },
    readinessProbe: { ...ready('/readyz'), periodSeconds: 5, failureThreshold: 2, timeoutSeconds: 3 },
    lifecycle: { preStop: { sleep: { seconds: PRE_STOP_SECONDS } } },
    securityContext: restricted(),
    volumeMounts: [
      ...mounts.map(({ name }) => ({ name, mountPath: `${SECRETS}/${name}`, readOnly: true })),
      ...(data === undefined ? [] : [{ name: 'data', mountPath: data }]),
    ],
  };
}

/** One process of a role at a time leaves of its own accord, wherever it is; one that is not well may always leave. */
function budget({ component, role = 'all' }: Workload): Manifest {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadata(ofRole(component, role), component, labelled(role)),
    spec: {
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: { 'app.kubernetes.io/name': component, ...labelled(role) } },
    },
  };
}

export function serviceAccount(name: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadata(name, name),
    automountServiceAccountToken: false,
  };
}

export interface ServiceProps {
  readonly component: string;
  readonly port: string;
  readonly number: number;
  readonly zone?: string;
  /** None: whatever the processes do. */
  readonly role?: Role;
  /** Where callers inside the cluster know it by its address. */
  readonly address?: string;
}

/** What a target group is bound to; callers inside the cluster are answered nearby. */
export function service(name: string, { component, port, number, zone, role, address }: ServiceProps): Manifest {
  const labels = { ...(zone !== undefined && { zone }), ...labelled(role) };
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(name, component, labels),
    spec: {
      type: 'ClusterIP',
      ...(address !== undefined && { clusterIP: address }),
      trafficDistribution: 'PreferClose',
      selector: { 'app.kubernetes.io/name': component, ...labels },
      ports: [{ name: port, port: number, targetPort: port, protocol: 'TCP' }],
    },
  };
}

/** Keeps the pods behind a service in a target group that the stack made; its ARN is put in when it is applied. */
export function binding(name: string, { component, number, zone, role }: ServiceProps, output: string): Manifest {
  const labels = { ...(zone !== undefined && { zone }), ...labelled(role) };
  return {
    apiVersion: 'eks.amazonaws.com/v1',
    kind: 'TargetGroupBinding',
    metadata: metadata(name, component, labels),
    spec: { serviceRef: { name, port: number }, targetGroupARN: `\${${output}}`, targetType: 'ip' },
  };
}

/** Every process by itself, ready or not, for what collects metrics, and for routers that look for another one. */
export function everyone(component: string, port: string, number: number): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata('everyone', component),
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: { 'app.kubernetes.io/name': component },
      ports: [{ name: port, port: number, targetPort: port, protocol: 'TCP' }],
    },
  };
}

/** How many processes each zone has, so that all zones but one carry `peak`, and what each of them takes then. */
export function sized(peak: number, ofOne: number, zones: number, least: number): { replicas: number; share: number } {
  const replicas = Math.max(least, Math.ceil(peak / ofOne / (zones - 1)));
  return { replicas, share: Math.ceil(peak / (replicas * (zones - 1))) };
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
