/**
 * Carries what our processes log to CloudWatch: a Fluent Bit on each node, which reads the files that the node keeps of
 * them. No process of ours waits for it: behind a carrier that is slow or away, the node goes on rotating its files.
 *
 * Reading a node's files is more than the processes' own namespace lets any pod do, so it runs in another one. It must
 * never write there, nor read what is not ours.
 */
import {
  KUBERNETES_NAMESPACE,
  LOGS_NAMESPACE,
  LOG_CARRIER,
  LOG_CARRIER_PORT,
  logGroup,
  loggedComponents,
} from '../../cdk/lib/names.ts';
import { stringify } from '../../cdk/lib/yaml.ts';
import type { Collected } from './collector.ts';
import { allow } from './policies.ts';
import type { Settings } from './settings.ts';
import { USER, at, metadata, podSecurity, restricted, serviceAccount } from './workload.ts';
import type { Manifest } from './workload.ts';

const CONFIGURATION = 'fluent-bit.yaml';
/** Where a node keeps what its containers log: readable for the group of root, and for no other user. */
const LOGGED = '/var/log/pods';
const DATA = '/var/lib/wallet';
/** Lines of one component that wait for CloudWatch; beyond it the oldest are dropped and counted. */
const WAITING_MAX = '256M';
const TRIES = 20;

export function logs({ images, place }: Settings, { component, stack }: Collected): Manifest[] {
  const labels = { 'app.kubernetes.io/name': LOG_CARRIER };
  const text = stringify(configuration(place.region, stack, loggedComponents(component)), { lineWidth: 0 });
  const all: Manifest[] = [
    serviceAccount(LOG_CARRIER),
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: metadata(LOG_CARRIER, LOG_CARRIER),
      data: { [CONFIGURATION]: text },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: metadata(LOG_CARRIER, LOG_CARRIER),
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: LOG_CARRIER,
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            // A node that is being drained logs too.
            tolerations: [{ operator: 'Exists' }],
            securityContext: { ...podSecurity(), runAsGroup: 0, fsGroup: USER },
            containers: [container(images['fluent-bit'])],
            volumes: [
              { name: LOG_CARRIER, configMap: { name: LOG_CARRIER } },
              { name: 'logged', hostPath: { path: LOGGED, type: 'Directory' } },
              { name: 'data', emptyDir: { sizeLimit: '2Gi' } },
            ],
          },
        },
      },
    },
    allow(LOG_CARRIER, {
      usesAws: true,
      from: [{ to: 'monitoring', port: LOG_CARRIER_PORT }],
      to: [{ to: 'network', port: 443 }],
    }),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata(LOG_CARRIER, LOG_CARRIER),
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: labels,
        ports: [{ name: 'metrics', port: LOG_CARRIER_PORT, targetPort: 'metrics', protocol: 'TCP' }],
      },
    },
  ];
  return all.map((one) => ({ ...one, metadata: { ...(one['metadata'] as Manifest), namespace: LOGS_NAMESPACE } }));
}

function container(image: string): Manifest {
  const probe = {
    httpGet: { path: '/', port: LOG_CARRIER_PORT },
    periodSeconds: 10,
    failureThreshold: 6,
    timeoutSeconds: 3,
  };
  return {
    name: LOG_CARRIER,
    image,
    command: ['/fluent-bit/bin/fluent-bit'],
    args: [`--config=${at(LOG_CARRIER, CONFIGURATION)}`],
    ports: [{ name: 'metrics', containerPort: LOG_CARRIER_PORT, protocol: 'TCP' }],
    resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '256Mi' } },
    livenessProbe: probe,
    readinessProbe: probe,
    securityContext: restricted(),
    volumeMounts: [
      { name: LOG_CARRIER, mountPath: `/etc/wallet/${LOG_CARRIER}`, readOnly: true },
      { name: 'logged', mountPath: LOGGED, readOnly: true },
      { name: 'data', mountPath: DATA },
    ],
  };
}

/** A file's place is kept for as long as the pod: a new pod reads what is there again, rather than leave lines out. */
function configuration(region: string, stack: string, components: readonly string[]): Manifest {
  return {
    service: {
      flush: 5,
      log_level: 'warn',
      http_server: 'on',
      http_listen: '0.0.0.0',
      http_port: LOG_CARRIER_PORT,
      'storage.path': `${DATA}/waiting`,
      'storage.max_chunks_up': 32,
    },
    pipeline: {
      inputs: components.map((name) => ({
        name: 'tail',
        tag: `${name}.*`,
        path: `${LOGGED}/${KUBERNETES_NAMESPACE}_${name}-*/*/*.log`,
        'multiline.parser': 'cri',
        db: `${DATA}/${name}.db`,
        read_from_head: 'on',
        refresh_interval: 5,
        skip_long_lines: 'on',
        'storage.type': 'filesystem',
      })),
      outputs: components.map((name) => ({
        name: 'cloudwatch_logs',
        match: `${name}.*`,
        region,
        log_group_name: logGroup(stack, name),
        log_stream_prefix: 'from-',
        // The line as our process wrote it.
        log_key: 'log',
        auto_create_group: 'off',
        retry_limit: TRIES,
        'storage.total_limit_size': WAITING_MAX,
      })),
    },
  };
}
