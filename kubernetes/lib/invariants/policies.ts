/**
 * Which connections are let through: those that a policy of a pod's own lists, and the spans of each process among
 * them. It never takes a policy that is for all pods for one that lets something through.
 */
import { flag, matches, named, podLabels, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

/**
 * Everything is denied in both directions; every deployment has its own exceptions, and the policies select no
 * others.
 */
export function policies(all: Parsed[], deployments: Parsed[]): string[] {
  const denies = all.filter(
    (one) => JSON.stringify(one.spec) === '{"podSelector":{},"policyTypes":["Ingress","Egress"]}',
  );
  const others = all.filter((one) => !denies.includes(one));
  const spaces = (of: Parsed[]) => [...new Set(of.map((one) => one.metadata.namespace as string))].sort().join();
  const selects = (one: Parsed, deployment: Parsed) =>
    one.metadata.namespace === deployment.metadata.namespace &&
    matches(one.spec.podSelector.matchLabels, podLabels(deployment));
  return [
    ...when(spaces(denies) !== spaces(deployments), 'not everything is denied that is not allowed'),
    ...others
      .filter((one) => one.spec.podSelector.matchLabels === undefined)
      .map((one) => `${named(one)}: is for all pods`),
    ...others
      .filter((one) => !deployments.some((deployment) => selects(one, deployment)))
      .map((one) => `${named(one)}: selects no pod`),
    ...others.flatMap((one) =>
      [...one.spec.ingress, ...one.spec.egress]
        .filter((rule: Parsed) => !rule.ports?.length || !(rule.from ?? rule.to)?.length)
        .map(() => `${named(one)}: lets every port or every peer through`),
    ),
    ...deployments
      .filter((one) => others.filter((policy) => selects(policy, one)).length !== 1)
      .map((one) => `${named(one)}: has not one policy of its own`),
  ];
}

/** Spans go to a service of this cluster, past the policies at both of its ends. */
export function tracing(one: Parsed, documents: Parsed[]): string[] {
  const [, name, port] = /^http:\/\/([\w-]+):(\d+)$/.exec(flag(one, 'otlp-endpoint') ?? '') ?? [];
  const of = (kind: string) => documents.filter((each) => each.kind === kind);
  const [to] = of('Service').filter((each) => each.metadata.name === name && each.spec.ports[0].port === Number(port));
  const takes = of('Deployment').find((each) => to && matches(to.spec.selector, podLabels(each)));
  if (!takes) return [`${named(one)}: sends its spans to no service`];
  const passes = (from: Parsed, rules: 'egress' | 'ingress', peer: Parsed) =>
    of('NetworkPolicy')
      .filter(({ spec }) => spec.podSelector.matchLabels && matches(spec.podSelector.matchLabels, podLabels(from)))
      .flatMap(({ spec }) => spec[rules] as Parsed[])
      .filter(({ ports }) => ports?.some((each: Parsed) => each.port === Number(port)))
      .flatMap((rule) => (rule.from ?? rule.to) as Parsed[])
      .some(({ podSelector }) => podSelector?.matchLabels && matches(podSelector.matchLabels, podLabels(peer)));
  return [
    ...when(!passes(one, 'egress', takes), `${named(one)}: its spans are not let out`),
    ...when(!passes(takes, 'ingress', one), `${named(one)}: its spans are not let in`),
    ...when(flag(one, 'trace-ratio') === undefined, `${named(one)}: no part of the requests is traced`),
  ];
}
