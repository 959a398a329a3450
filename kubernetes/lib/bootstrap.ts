/**
 * The job that publishes the first placement, before any control plane starts. It may run again at
 * every deploy: where there is a placement, it changes nothing. cdk/scripts/apply makes it again
 * each time, since a job cannot be changed.
 */
import { allow } from './policies.ts';
import type { Settings } from './settings.ts';
import { at, metadata, podSecurity, restricted, serviceAccount } from './workload.ts';
import type { Manifest } from './workload.ts';

const BOOTSTRAP = 'bootstrap';
/** It waits for tables that are not there yet, and is then tried again by a later apply. */
const TRIES = 3;
const SECONDS_MAX = 480;

/** What the job needs, and the control plane after it. */
export const configuration = ({ text }: Settings): Manifest[] => [
  serviceAccount('control-plane'),
  { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('config', 'control-plane'), data: { 'cells.toml': text } },
];

export function bootstrap(settings: Settings): Manifest[] {
  const { images, place } = settings;
  return [
    ...configuration(settings),
    // Not by the name of the control plane's pods: neither their service nor their disruption
    // budget may count it.
    allow(BOOTSTRAP, { usesAws: true, from: [], to: [{ to: 'anywhere', port: 443 }] }),
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: metadata(BOOTSTRAP, BOOTSTRAP),
      spec: {
        backoffLimit: TRIES,
        activeDeadlineSeconds: SECONDS_MAX,
        template: {
          metadata: { labels: { 'app.kubernetes.io/name': BOOTSTRAP, 'app.kubernetes.io/part-of': 'wallet' } },
          spec: {
            serviceAccountName: 'control-plane',
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            restartPolicy: 'Never',
            securityContext: podSecurity(),
            containers: [
              {
                name: BOOTSTRAP,
                image: images['control-plane'],
                args: [
                  `--config=${at('config', 'cells.toml')}`,
                  `--region=${place.region}`,
                  '--table-prefix=control-',
                  '--log-format=json',
                  'bootstrap',
                  '--actor=pipeline',
                ],
                env: [],
                resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '256Mi' } },
                securityContext: restricted(),
                volumeMounts: [{ name: 'config', mountPath: '/etc/wallet/config', readOnly: true }],
              },
            ],
            volumes: [{ name: 'config', configMap: { name: 'config' } }],
          },
        },
      },
    },
  ];
}
