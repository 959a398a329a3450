/**
 * Allowed connections: only those listed here. Other accounts are seen as addresses of the own network,
 * since they come and are reached through PrivateLink.
 */
import { DNS_ADDRESS, VPC_CIDR } from '../../cdk/lib/network/addresses.ts';
import {
  COLLECTOR,
  KUBERNETES_NAMESPACE,
  LOGS_NAMESPACE,
  LOG_CARRIER,
  MONITORING,
  OTLP_PORT,
} from '../../cdk/lib/names.ts';
import { metadata } from './workload.ts';
import type { Manifest } from './workload.ts';

/** Where EKS hands pods their credentials. */
const POD_IDENTITY = '169.254.170.23/32';

export interface Peer {
  /** The last two are in the other of our namespaces. */
  readonly to: 'network' | 'anywhere' | 'monitors' | 'log-carrier' | 'monitoring' | { readonly component: string };
  readonly port: number;
}

export interface Rules {
  readonly from: readonly Peer[];
  readonly to: readonly Peer[];
  /** Whether it calls AWS in its own name. */
  readonly usesAws: boolean;
}

/** Where spans go (workload.ts). */
export const TO_COLLECTOR: Peer = { to: { component: COLLECTOR }, port: OTLP_PORT };

export function denyAll(namespace: string): Manifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { ...metadata('deny-all', 'wallet'), namespace },
    spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
  };
}

export function allow(component: string, { from, to, usesAws }: Rules): Manifest {
  const dns = {
    to: [
      { ipBlock: { cidr: DNS_ADDRESS } },
      { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } } },
    ],
    ports: [
      { port: 53, protocol: 'UDP' },
      { port: 53, protocol: 'TCP' },
    ],
  };
  const identity = { to: [{ ipBlock: { cidr: POD_IDENTITY } }], ports: [{ port: 80, protocol: 'TCP' }] };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadata(`allow-${component}`, component),
    spec: {
      podSelector: { matchLabels: { 'app.kubernetes.io/name': component } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: from.map((peer) => ({ from: [selector(peer)], ports: [{ port: peer.port, protocol: 'TCP' }] })),
      egress: [
        dns,
        ...(usesAws ? [identity] : []),
        ...to.map((peer) => ({ to: [selector(peer)], ports: [{ port: peer.port, protocol: 'TCP' }] })),
      ],
    },
  };
}

function selector({ to }: Peer): Manifest {
  if (to === 'network') return { ipBlock: { cidr: VPC_CIDR } };
  if (to === 'anywhere') return { ipBlock: { cidr: '0.0.0.0/0' } };
  if (to === 'monitors') {
    const named = { key: 'app.kubernetes.io/name', operator: 'In', values: [COLLECTOR, MONITORING] };
    return { podSelector: { matchExpressions: [named] } };
  }
  if (to === LOG_CARRIER) return { ...inNamespace(LOGS_NAMESPACE), ...pods(LOG_CARRIER) };
  if (to === MONITORING) return { ...inNamespace(KUBERNETES_NAMESPACE), ...pods(MONITORING) };
  return pods(to.component);
}

const pods = (component: string) => ({ podSelector: { matchLabels: { 'app.kubernetes.io/name': component } } });

function inNamespace(name: string): Manifest {
  return { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } } };
}
