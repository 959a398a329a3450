/**
 * What leads to a process: services, the target groups of load balancers, and the role that each of these is for. It
 * never judges which peers may take that way: that is policies.ts.
 */
import { cellTargets } from '../../../cdk/lib/cell-roles.ts';
import type { Expected } from '../expectations.ts';
import { container, matches, named, podLabels, roleOf, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

/** A service leads to a port that a container has, and that may be reached. */
export function services(all: Parsed[], deployments: Parsed[], allowed: Parsed[]): string[] {
  return all.flatMap((one) => {
    const behind = deployments.filter((deployment) => matches(one.spec.selector, podLabels(deployment)));
    const [{ targetPort, port }] = one.spec.ports;
    const numbers = behind.map(
      (deployment) => container(deployment).ports.find((own: Parsed) => own.name === targetPort)?.containerPort,
    );
    const reachable = behind.every((deployment) =>
      allowed.some(
        (policy) =>
          policy.spec.podSelector.matchLabels &&
          matches(policy.spec.podSelector.matchLabels, podLabels(deployment)) &&
          policy.spec.ingress.some((rule: Parsed) => rule.ports.some((own: Parsed) => own.port === port)),
      ),
    );
    return [
      ...when(behind.length === 0, `${named(one)}: no pod is behind it`),
      ...when(
        numbers.some((number) => number !== port),
        `${named(one)}: port ${targetPort} is ${numbers}, not ${port}`,
      ),
      ...when(!reachable, `${named(one)}: its port ${port} is not let through`),
      ...when(
        one.spec.clusterIP !== 'None' && one.spec.trafficDistribution !== 'PreferClose',
        `${named(one)}: leaves its zone without need`,
      ),
    ];
  });
}

/** Each target group of the stack is bound, once, to a service that is there. */
export function bindings(all: Parsed[], there: Parsed[], { outputs }: Expected): string[] {
  const bound = all.map((one) => /^\$\{(\w+)\}$/.exec(one.spec.targetGroupARN)?.[1]).sort();
  return [
    ...when(
      JSON.stringify(bound) !== JSON.stringify([...outputs].sort()),
      `bound are ${bound}, the stack has ${outputs}`,
    ),
    ...all
      .filter(
        (one) =>
          !there.some(
            (service) =>
              service.metadata.name === one.spec.serviceRef.name &&
              service.spec.ports[0].port === one.spec.serviceRef.port,
          ),
      )
      .map((one) => `${named(one)}: no service ${one.spec.serviceRef.name}`),
  ];
}

/** A target group of a cell's role leads to processes that have it: routers choose by the address. */
export function leading(all: Parsed[], there: Parsed[], ours: Parsed[], { component, roles }: Expected): string[] {
  if (component !== 'cell') return [];
  return roles.flatMap((role) => {
    const bound = all.filter((one) => one.spec.targetGroupARN === `\${${cellTargets(role)}}`);
    const served = there.filter((one) => bound.some(({ spec }) => spec.serviceRef.name === one.metadata.name));
    return served
      .filter((one) => ours.some((each) => matches(one.spec.selector, podLabels(each)) && roleOf(each) !== role))
      .map((one) => `${named(one)}: leads to others than ${role}`);
  });
}
