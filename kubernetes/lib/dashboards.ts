/**
 * Grafana beside each Prometheus, with the dashboards of ops/grafana: an operator forwards its port, and sees what this
 * cluster's processes measure. Nothing else reaches it, so it asks for no login, and nothing can be changed in it.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { MONITORING } from '../../cdk/lib/names.ts';
import { parseAllDocuments, stringify } from '../../cdk/lib/yaml.ts';
import { metadata, restricted } from './workload.ts';
import type { Manifest } from './workload.ts';

const OPS = new URL('../../ops/grafana/', import.meta.url);
const GRAFANA = 'grafana';
const DASHBOARDS = 'dashboards';
const PORT = 3000;
const MEMORY = '256Mi';

/** Each with the folder in which Grafana looks for it. */
const PROVISIONED = { 'datasources.yml': 'datasources', 'dashboards.yml': 'dashboards' } as const;

export interface Beside {
  /** Where the pod may write. */
  readonly data: string;
  /** Of the Prometheus in the same pod. */
  readonly prometheus: string;
}

export function container(image: string, { data, prometheus }: Beside): Manifest {
  const env = {
    WALLET_PROMETHEUS_URL: prometheus,
    GF_SERVER_HTTP_PORT: String(PORT),
    GF_PATHS_PROVISIONING: `/etc/wallet/${GRAFANA}`,
    GF_PATHS_DATA: `${data}/${GRAFANA}`,
    GF_PATHS_LOGS: `${data}/${GRAFANA}/log`,
    GF_PATHS_PLUGINS: `${data}/${GRAFANA}/plugins`,
    TMPDIR: data,
    GF_LOG_MODE: 'console',
    GF_AUTH_ANONYMOUS_ENABLED: 'true',
    GF_AUTH_ANONYMOUS_ORG_ROLE: 'Viewer',
    GF_AUTH_BASIC_ENABLED: 'false',
    GF_AUTH_DISABLE_LOGIN_FORM: 'true',
    // No way leads out of the network.
    GF_ANALYTICS_REPORTING_ENABLED: 'false',
    GF_ANALYTICS_CHECK_FOR_UPDATES: 'false',
    GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES: 'false',
    GF_PLUGINS_PREINSTALL_DISABLED: 'true',
  };
  const probe = {
    httpGet: { path: '/api/health', port: PORT },
    periodSeconds: 10,
    failureThreshold: 6,
    timeoutSeconds: 3,
  };
  return {
    name: GRAFANA,
    image,
    env: Object.entries(env).map(([name, value]) => ({ name, value })),
    resources: { requests: { cpu: '50m', memory: MEMORY }, limits: { memory: MEMORY } },
    // Once it has started, nothing waits for it: alerts do without it.
    startupProbe: probe,
    securityContext: restricted(),
    volumeMounts: [
      ...[GRAFANA, DASHBOARDS].map((name) => ({ name, mountPath: `/etc/wallet/${name}`, readOnly: true })),
      { name: 'data', mountPath: data },
    ],
  };
}

export const volumes = (): Manifest[] => [
  {
    name: GRAFANA,
    configMap: {
      name: GRAFANA,
      items: Object.entries(PROVISIONED).map(([key, folder]) => ({ key, path: `${folder}/wallet.yml` })),
    },
  },
  { name: DASHBOARDS, configMap: { name: DASHBOARDS } },
];

export function configuration(): Manifest[] {
  const provisioned = (folder: string) => {
    const [file] = readdirSync(new URL(`provisioning/${folder}/`, OPS));
    return parseAllDocuments(readFileSync(new URL(`provisioning/${folder}/${file}`, OPS), 'utf8'))[0]!.toJS();
  };
  const { providers, ...rest } = provisioned('dashboards');
  const found = providers.map((one: Manifest) => ({ ...one, options: { path: `/etc/wallet/${DASHBOARDS}` } }));
  const dashboards = readdirSync(new URL('dashboards/', OPS)).sort();
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: metadata(GRAFANA, MONITORING),
      data: {
        'datasources.yml': stringify(provisioned('datasources')),
        'dashboards.yml': stringify({ ...rest, providers: found }),
      },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: metadata(DASHBOARDS, MONITORING),
      data: Object.fromEntries(
        dashboards.map((name) => [name, readFileSync(new URL(`dashboards/${name}`, OPS), 'utf8')]),
      ),
    },
  ];
}
