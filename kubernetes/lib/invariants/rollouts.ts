/**
 * How processes come and go without a client noticing: what they are asked, when load balancers may send them requests,
 * how much time they have to end, and how many may leave at once. It never judges what a process does in between.
 */
import type { Expected } from '../expectations.ts';
import { binary } from '../sources.ts';
import { container, matches, named, podLabels, roleOf, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

/**
 * For so long a network load balancer opens connections to a target that was taken out of its group, as others measured
 * (kubernetes-sigs/aws-load-balancer-controller, issue 2366). The delay of our target groups is below it.
 */
const DEREGISTRATION_SECONDS = 120;

/** A pod that is made is ready only when its target is: the namespace asks for it, and what binds is there before. */
export function gates(documents: Parsed[], ours: Parsed[]): string[] {
  const [space] = documents.filter((one) => one.kind === 'Namespace');
  const first = documents.indexOf(ours[0]);
  const bound = documents.filter((one) => one.kind === 'TargetGroupBinding');
  const served = documents.filter((one) => bound.some(({ spec }) => spec.serviceRef.name === one.metadata.name));
  return [
    ...when(
      space?.metadata.labels['eks.amazonaws.com/pod-readiness-gate-inject'] !== 'enabled',
      'pods are ready before load balancers know them',
    ),
    ...[...bound, ...served.filter((one) => one.kind === 'Service')]
      .filter((one) => documents.indexOf(one) > first)
      .map((one) => `${named(one)}: comes after the pods that it is to gate`),
  ];
}

export function probes(one: Parsed, { mayWait }: Expected): string[] {
  const asked = (probe: Parsed): string => probe?.httpGet?.path ?? probe?.exec?.command?.at(-1) ?? 'nothing';
  return (
    [
      ['startupProbe', '/livez'],
      ['livenessProbe', '/livez'],
      ['readinessProbe', mayWait ? '/readyz?or=waiting' : '/readyz'],
    ] as const
  ).flatMap(([probe, path]) => [
    ...when(
      !asked(container(one)[probe]).endsWith(path),
      `${named(one)}: ${probe} asks ${asked(container(one)[probe])}`,
    ),
    ...when(
      path === '/livez' && container(one)[probe]?.exec !== undefined,
      `${named(one)}: ${probe} depends on a certificate`,
    ),
  ]);
}

export function ending(one: Parsed, { component }: Expected): string[] {
  const grace = one.spec.template.spec.terminationGracePeriodSeconds;
  const sleep = container(one).lifecycle?.preStop?.sleep?.seconds;
  const drain = binary(component).drainSeconds;
  return [
    ...when(
      !(sleep > DEREGISTRATION_SECONDS),
      `${named(one)}: load balancers need ${DEREGISTRATION_SECONDS} s to leave it, and it stops after ${sleep} s`,
    ),
    ...when(
      !(grace > sleep + drain),
      `${named(one)}: killed ${grace} s after a pause of ${sleep} s and up to ${drain} s of draining`,
    ),
  ];
}

/** One for each role: Kubernetes evicts no pod that two of them select. */
export function budgets(all: Parsed[], ours: Parsed[], { component, roles }: Expected): string[] {
  const of = (labels: Record<string, string>) => all.filter((one) => matches(one.spec.selector.matchLabels, labels));
  const own = [...new Set(ours.flatMap((one) => of(podLabels(one))))];
  return [
    ...roles.flatMap((role) => {
      const each = ours.filter((one) => roleOf(one) === role).map((one) => of(podLabels(one)));
      const count = new Set(each.flat()).size;
      return when(
        count !== 1 || each.some(({ length }) => length !== 1),
        `${count} disruption budgets for ${component}${role === 'all' ? '' : `, ${role}`}`,
      );
    }),
    ...own.flatMap((one) =>
      when(
        one.spec.maxUnavailable !== 1 || one.spec.unhealthyPodEvictionPolicy !== 'AlwaysAllow',
        `${named(one)}: more than one may leave, or none that is unwell`,
      ),
    ),
  ];
}
