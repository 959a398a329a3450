/**
 * Prometheus, Alertmanager and Grafana beside the processes of one cluster, with those of ops/prometheus' rules that this cluster's
 * metrics alone can answer: no network leads from one account's cluster into another's. Two of them, in two zones, of which
 * either may be lost; what they have measured goes with them. It must never be asked before a request is answered.
 */
import { readFileSync } from 'node:fs';
import {
  KUBERNETES_NAMESPACE,
  LOGS_NAMESPACE,
  LOG_CARRIER,
  LOG_CARRIER_PORT,
  MONITORING,
  URGENCIES,
  accountOf,
  topicName,
} from '../../cdk/lib/names.ts';
import { parseAllDocuments, stringify } from '../../cdk/lib/yaml.ts';
import type { Collected } from './collector.ts';
import * as dashboards from './dashboards.ts';
import { allow } from './policies.ts';
import type { Settings } from './settings.ts';
import { at, metadata, podSecurity, restricted, serviceAccount } from './workload.ts';
import type { Manifest } from './workload.ts';

const OPS = new URL('../../ops/prometheus/', import.meta.url);
const DATA = '/var/lib/wallet';
const PORTS = { prometheus: 9090, alertmanager: 9093, gossip: 9094 } as const;

/**
 * Raised where no customer comes, or no control plane runs; neither is in a second Region before it is needed. Routers go on
 * saying that they hear of no control plane.
 */
const WHEN_NEEDED = ['RequestsUnknown', 'ControlPlaneDown'];

interface Rule {
  readonly expr: string;
  readonly [key: string]: unknown;
}

export function monitoring(settings: Settings, collected: Collected): Manifest[] {
  const { images, place } = settings;
  const labels = { 'app.kubernetes.io/name': MONITORING };
  const peers = `${MONITORING}.${KUBERNETES_NAMESPACE}.svc.cluster.local:${PORTS.gossip}`;
  return [
    serviceAccount(MONITORING),
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: metadata(MONITORING, MONITORING),
      data: {
        'prometheus.yml': text(prometheus(collected)),
        'recording.yml': text(rules('recording.yml', collected.component)),
        'alerts.yml': text(rules('alerts.yml', collected.component, place.isHome ? [] : WHEN_NEEDED)),
        'logs.yml': text(LOG_RULES),
        'alertmanager.yml': text(alertmanager(settings, collected)),
      },
    },
    ...dashboards.configuration(),
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: metadata(MONITORING, MONITORING),
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: MONITORING,
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            securityContext: podSecurity(),
            topologySpreadConstraints: [
              {
                maxSkew: 1,
                topologyKey: 'topology.kubernetes.io/zone',
                whenUnsatisfiable: 'DoNotSchedule',
                labelSelector: { matchLabels: labels },
              },
            ],
            containers: [
              container('alertmanager', images.alertmanager, PORTS.alertmanager, '128Mi', { gossip: PORTS.gossip }, [
                `--config.file=${at(MONITORING, 'alertmanager.yml')}`,
                `--storage.path=${DATA}/alertmanager`,
                `--cluster.listen-address=0.0.0.0:${PORTS.gossip}`,
                `--cluster.peer=${peers}`,
              ]),
              container('prometheus', images.prometheus, PORTS.prometheus, '2Gi', {}, [
                `--config.file=${at(MONITORING, 'prometheus.yml')}`,
                `--storage.tsdb.path=${DATA}/prometheus`,
                // The longest window of a rule is three days.
                '--storage.tsdb.retention.time=4d',
                '--storage.tsdb.retention.size=8GB',
              ]),
              dashboards.container(images.grafana, { data: DATA, prometheus: `http://127.0.0.1:${PORTS.prometheus}` }),
            ],
            volumes: [
              { name: 'monitor', secret: { secretName: 'monitor', defaultMode: 0o440 } },
              { name: MONITORING, configMap: { name: MONITORING } },
              ...dashboards.volumes(),
              { name: 'data', emptyDir: { sizeLimit: '10Gi' } },
            ],
          },
        },
      },
    },
    allow(MONITORING, {
      // Alertmanager publishes alerts.
      usesAws: true,
      from: [{ to: { component: MONITORING }, port: PORTS.gossip }],
      to: [
        { to: { component: collected.component }, port: collected.port },
        { to: { component: MONITORING }, port: PORTS.gossip },
        { to: LOG_CARRIER, port: LOG_CARRIER_PORT },
        { to: 'network', port: 443 },
      ],
    }),
    // For each to find the other: they agree on which of them reports an alert.
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata(MONITORING, MONITORING),
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: labels,
        ports: [{ name: 'gossip', port: PORTS.gossip, targetPort: 'gossip', protocol: 'TCP' }],
      },
    },
  ];
}

function container(
  name: string,
  image: string,
  port: number,
  memory: string,
  others: Readonly<Record<string, number>>,
  args: string[],
): Manifest {
  const probe = (path: string) => ({
    httpGet: { path, port },
    periodSeconds: 10,
    failureThreshold: 6,
    timeoutSeconds: 3,
  });
  return {
    name,
    image,
    args,
    ports: Object.entries(others).map(([port, containerPort]) => ({ name: port, containerPort, protocol: 'TCP' })),
    resources: { requests: { cpu: '100m', memory }, limits: { memory } },
    livenessProbe: probe('/-/healthy'),
    readinessProbe: probe('/-/ready'),
    securityContext: restricted(),
    volumeMounts: [
      ...['monitor', MONITORING].map((volume) => ({
        name: volume,
        mountPath: `/etc/wallet/${volume}`,
        readOnly: true,
      })),
      { name: 'data', mountPath: DATA },
    ],
  };
}

/** The job of ops/prometheus for these processes, which are found by DNS: no right to ask the cluster is needed. */
function prometheus({ component, part, port, stack }: Collected): Manifest {
  const given = parsed('prometheus.yml') as { global: Manifest; rule_files: string[]; scrape_configs: Manifest[] };
  const { file_sd_configs: _, ...job } = given.scrape_configs.find((one) => one['job_name'] === component)!;
  return {
    global: { ...given.global, external_labels: { stack } },
    rule_files: [...given.rule_files, 'logs.yml'],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [`127.0.0.1:${PORTS.alertmanager}`] }] }] },
    scrape_configs: [
      {
        ...job,
        tls_config: {
          ca_file: at('monitor', 'ca.crt'),
          cert_file: at('monitor', 'tls.crt'),
          key_file: at('monitor', 'tls.key'),
          server_name: `${component}.wallet.internal`,
        },
        dns_sd_configs: [{ names: [`everyone.${KUBERNETES_NAMESPACE}.svc.cluster.local`], type: 'A', port }],
        // Whether a process answers has to be known by cell also while it says nothing.
        ...(component === 'cell' && { relabel_configs: [{ target_label: 'cell', replacement: part }] }),
      },
      {
        job_name: LOG_CARRIER,
        metrics_path: '/api/v2/metrics/prometheus',
        dns_sd_configs: [
          { names: [`${LOG_CARRIER}.${LOGS_NAMESPACE}.svc.cluster.local`], type: 'A', port: LOG_CARRIER_PORT },
        ],
      },
    ],
  };
}

/** Only clusters have what these are about, so that they are not in ops/. */
const LOG_RULES = {
  groups: [
    {
      name: 'logs',
      rules: [
        {
          alert: 'LogsDropped',
          expr: 'sum(increase(fluentbit_output_dropped_records_total[15m])) > 0',
          labels: { severity: 'ticket' },
          annotations: {
            summary: 'CloudWatch did not take {{ $value }} lines of logs, which are lost',
            runbook_url: 'docs/runbook.md#logs-do-not-arrive',
          },
        },
        {
          alert: 'LogsNotCarried',
          expr: `up{job="${LOG_CARRIER}"} == 0 or absent(up{job="${LOG_CARRIER}"})`,
          for: '15m',
          labels: { severity: 'ticket' },
          annotations: {
            summary: 'a node, or every node, has nothing that carries its logs away',
            runbook_url: 'docs/runbook.md#logs-do-not-arrive',
          },
        },
      ],
    },
  ],
};

/** The rules that are about no other component: those of two are for the two of them together, which no cluster has. */
export function rules(file: string, component: string, without: readonly string[] = []): Manifest {
  const { groups } = parsed(file) as { groups: { name: string; rules: Rule[] }[] };
  const kept = groups.map((group) => ({
    ...group,
    rules: group.rules.filter(
      ({ alert, expr }) => !without.includes(String(alert)) && [...about(expr)].every((one) => one === component),
    ),
  }));
  return { groups: kept.filter((group) => group.rules.length > 0) };
}

/** The processes that have the metrics of an expression; none of them if every process has them. */
export function about(expression: string): Set<string> {
  const metrics = [...expression.matchAll(/\b(router|cell|control_plane)_\w/g)].map(([, name]) => name!);
  const jobs = [...expression.matchAll(/\bjob="([\w-]+)"/g)].map(([, name]) => name!);
  // Recorded by recording.yml of what routers count.
  const recorded = /\bcell:\w/.test(expression) ? ['router'] : [];
  return new Set([...metrics.map((name) => name.replace('_', '-')), ...jobs, ...recorded]);
}

/** To the topics of the stack (cdk/lib/topics.ts), as the pod's own role. */
function alertmanager({ config, place: { region } }: Settings, { part, stack }: Collected): Manifest {
  return {
    route: {
      receiver: 'ticket',
      group_by: ['alertname', 'cell'],
      repeat_interval: '1d',
      routes: [{ receiver: 'page', matchers: ['severity="page"'], group_wait: '10s', repeat_interval: '1h' }],
    },
    receivers: URGENCIES.map((name) => ({
      name,
      sns_configs: [
        {
          topic_arn: `arn:aws:sns:${region}:${accountOf(config, part)}:${topicName(stack, name)}`,
          sigv4: { region },
          // SNS refuses a message with a subject of more than 100 characters; the usual one has every label.
          subject: `{{ .Status }}: {{ .GroupLabels.alertname }} in ${stack}`,
          send_resolved: true,
        },
      ],
    })),
  };
}

const parsed = (file: string): unknown => parseAllDocuments(readFileSync(new URL(file, OPS), 'utf8'))[0]!.toJS();
const text = (value: Manifest) => stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
