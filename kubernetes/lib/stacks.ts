/** Which manifests belong into which stack's cluster. */
import { KUBERNETES_NAMESPACE, PORTS } from '../../cdk/lib/names.ts';
import { stringify } from '../../cdk/lib/yaml.ts';
import { cell } from './cell.ts';
import { collector } from './collector.ts';
import type { Collected } from './collector.ts';
import { controlPlane } from './control-plane.ts';
import { denyAll } from './policies.ts';
import { router } from './router.ts';
import type { Settings } from './settings.ts';
import type { Manifest } from './workload.ts';

/** By stack, by file. */
export type Manifests = Map<string, Map<string, Manifest[]>>;

export function manifests(settings: Settings): Manifests {
  const stack = (file: string, own: Manifest[], collected: Collected): [string, Map<string, Manifest[]>] => {
    const isBinding = (one: Manifest) => one['kind'] === 'TargetGroupBinding';
    return [
      collected.stack,
      new Map([
        ['0-namespace.yaml', ground()],
        [file, own.filter((one) => !isBinding(one))],
        ['bindings.yaml', own.filter(isBinding)],
        ['collector.yaml', collector(settings, collected)],
      ]),
    ];
  };
  return new Map([
    stack('control-plane.yaml', controlPlane(settings), {
      component: 'control-plane',
      port: PORTS.controlPlane,
      stack: 'control-plane',
    }),
    stack('router.yaml', router(settings), { component: 'router', port: PORTS.admin, stack: 'router' }),
    ...settings.config.cells.map((one) =>
      stack('cell.yaml', cell(settings, one), { component: 'cell', port: PORTS.cell, stack: one.id }),
    ),
  ]);
}

/** Files as they are written. */
export function written(all: Manifests): Map<string, string> {
  const files = new Map<string, string>();
  for (const [stack, ofStack] of all) {
    for (const [file, documents] of ofStack) {
      const text = documents.map((one) => stringify(one, { lineWidth: 0, aliasDuplicateObjects: false })).join('---\n');
      files.set(`${stack}/${file}`, `# Generated from cells.toml by kubernetes/generate.ts: do not edit.\n${text}`);
    }
  }
  return files;
}

/** Applied before the rest, by the order of names: the namespace, and that nothing is let through in it. */
const ground = (): Manifest[] => [
  {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: KUBERNETES_NAMESPACE,
      labels: {
        'pod-security.kubernetes.io/enforce': 'restricted',
        'pod-security.kubernetes.io/enforce-version': 'latest',
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
  denyAll(),
];
