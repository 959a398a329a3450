/**
 * Carries those metrics of the processes that alarms are about to CloudWatch (cdk/lib/alarms.ts), and their spans to
 * X-Ray: an OpenTelemetry collector of AWS's distribution, which shows the monitor's certificate. One, not one a zone: two
 * would count twice.
 */
import { NAMESPACE as METRICS_NAMESPACE, OWN_METRICS } from '../../cdk/lib/own-metrics.ts';
import type { Component } from '../../cdk/lib/own-metrics.ts';
import { COLLECTOR, KUBERNETES_NAMESPACE, OTLP_PORT } from '../../cdk/lib/names.ts';
import { stringify } from '../../cdk/lib/yaml.ts';
import { allow } from './policies.ts';
import type { Settings } from './settings.ts';
import { at, metadata, podSecurity, restricted, service, serviceAccount } from './workload.ts';
import type { Manifest } from './workload.ts';

const HEALTH_PORT = 13_133;
/** Of what its container may have. Above it, spans are refused, and counted by the process that sent them. */
const MEMORY_PERCENT = 75;

export interface Collected {
  readonly component: Component;
  readonly port: number;
  /** The cell's id, `router` or `control-plane`. */
  readonly part: string;
  /** The part in one Region. */
  readonly stack: string;
}

export function collector({ images, place }: Settings, collected: Collected): Manifest[] {
  const text = stringify(configuration(place.region, collected), { lineWidth: 0 });
  const labels = { 'app.kubernetes.io/name': COLLECTOR };
  return [
    serviceAccount(COLLECTOR),
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata(COLLECTOR, COLLECTOR), data: { 'config.yaml': text } },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: metadata(COLLECTOR, COLLECTOR),
      spec: {
        replicas: 1,
        strategy: { type: 'Recreate' },
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: COLLECTOR,
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            securityContext: podSecurity(),
            containers: [
              {
                name: COLLECTOR,
                image: images.collector,
                args: [`--config=${at(COLLECTOR, 'config.yaml')}`],
                ports: [{ name: 'otlp', containerPort: OTLP_PORT, protocol: 'TCP' }],
                resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '256Mi' } },
                livenessProbe: {
                  httpGet: { path: '/', port: HEALTH_PORT },
                  periodSeconds: 10,
                  failureThreshold: 6,
                  timeoutSeconds: 3,
                },
                readinessProbe: {
                  httpGet: { path: '/', port: HEALTH_PORT },
                  periodSeconds: 5,
                  failureThreshold: 3,
                  timeoutSeconds: 3,
                },
                securityContext: restricted(),
                volumeMounts: ['monitor', COLLECTOR].map((name) => ({
                  name,
                  mountPath: `/etc/wallet/${name}`,
                  readOnly: true,
                })),
              },
            ],
            volumes: [
              { name: 'monitor', secret: { secretName: 'monitor', defaultMode: 0o440 } },
              { name: COLLECTOR, configMap: { name: COLLECTOR } },
            ],
          },
        },
      },
    },
    allow(COLLECTOR, {
      usesAws: true,
      from: [{ to: { component: collected.component }, port: OTLP_PORT }],
      to: [
        { to: { component: collected.component }, port: collected.port },
        { to: 'network', port: 443 },
      ],
    }),
    service(COLLECTOR, { component: COLLECTOR, port: 'otlp', number: OTLP_PORT }),
  ];
}

function configuration(region: string, { component, port, stack }: Collected): Manifest {
  const { answers, others } = OWN_METRICS[component];
  // A cell's process says of which cell it is; the others are what they are.
  const label = component === 'cell' ? 'cell' : 'component';
  return {
    extensions: { health_check: { endpoint: `0.0.0.0:${HEALTH_PORT}` } },
    receivers: {
      prometheus: {
        config: {
          scrape_configs: [
            {
              job_name: component,
              scrape_interval: '15s',
              scheme: 'https',
              tls_config: {
                ca_file: at('monitor', 'ca.crt'),
                cert_file: at('monitor', 'tls.crt'),
                key_file: at('monitor', 'tls.key'),
                server_name: `${component}.wallet.internal`,
              },
              dns_sd_configs: [{ names: [`everyone.${KUBERNETES_NAMESPACE}.svc.cluster.local`], type: 'A', port }],
              ...(component !== 'cell' && { relabel_configs: [{ target_label: 'component', replacement: component }] }),
            },
          ],
        },
      },
      otlp: { protocols: { http: { endpoint: `0.0.0.0:${OTLP_PORT}` } } },
    },
    processors: { memory_limiter: { check_interval: '1s', limit_percentage: MEMORY_PERCENT }, batch: {} },
    exporters: {
      awsxray: { region },
      awsemf: {
        region,
        namespace: METRICS_NAMESPACE,
        log_group_name: `/wallet/${stack}/metrics`,
        dimension_rollup_option: 'NoDimensionRollup',
        metric_declarations: [
          {
            dimensions: [[label]],
            metric_name_selectors: [`^${answers}$`],
            label_matchers: [{ label_names: ['status'], regex: '^5' }],
          },
          { dimensions: [[label]], metric_name_selectors: others.map((name) => `^${name}$`) },
        ],
      },
    },
    service: {
      extensions: ['health_check'],
      pipelines: {
        metrics: { receivers: ['prometheus'], exporters: ['awsemf'] },
        traces: { receivers: ['otlp'], processors: ['memory_limiter', 'batch'], exporters: ['awsxray'] },
      },
    },
  };
}
