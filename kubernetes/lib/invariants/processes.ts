/**
 * Which processes there are, how many in each zone, what each of them does, and in which Region. It never judges
 * whether a binary takes what it is started with: that is commands.ts.
 */
import type { Expected } from '../expectations.ts';
import { container, flag, named, roleOf, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

/** Each role has its processes in each zone, and there is no other. */
export function roles(ours: Parsed[], expected: Expected): string[] {
  const strays = ours.filter((one) => !expected.roles.some((role) => role === roleOf(one)));
  return [
    ...strays.map((one) => `${named(one)}: has role ${roleOf(one)}, and roles are ${expected.roles.join(' and ')}`),
    ...expected.roles.flatMap((role) => {
      const found = zones(
        ours.filter((one) => roleOf(one) === role),
        expected,
      );
      return role === 'all' ? found : found.map((what) => `${role}: ${what}`);
    }),
  ];
}

function zones(ours: Parsed[], expected: Expected): string[] {
  const found = ours.map((one) => one.spec.template.spec.nodeSelector?.['topology.kubernetes.io/zone']).sort();
  const counts = new Set(ours.map((one) => one.spec.replicas));
  return [
    ...when(
      JSON.stringify(found) !== JSON.stringify([...expected.zones].sort()),
      `deployments stand in zones ${found}, not ${expected.zones}`,
    ),
    ...when(counts.size !== 1, `zones have different numbers of processes: ${[...counts]}`),
    ...when(
      expected.component === 'cell' && Math.max(...counts) > 1,
      `several processes of a cell have one address: which of them answers is not known`,
    ),
  ];
}

/** What a process does is what its address is for. */
export function doing(one: Parsed, { component }: Expected): string[] {
  const does = flag(one, 'role');
  return when(
    component === 'cell' && does !== roleOf(one),
    `${named(one)}: does ${does}, and is reached for ${roleOf(one)}`,
  );
}

/** What all zones but one take of each role, by the flags of their processes: each has to take its part of that. */
export function capacity(one: Parsed, { zones: { length }, peak }: Expected): string[] {
  if (peak === 0) return [];
  const share = Number(flag(one, 'max-tps'));
  const left = one.spec.replicas * (length - 1) * share;
  return when(!(left >= peak), `${named(one)}: with a zone gone, processes take ${left} writes a second of ${peak}`);
}

/** In which Region a process works, and which one it takes for the cell's home until the tables say. */
export function standing(one: Parsed, { component, isStandby, region }: Expected): string[] {
  const args = container(one).args as string[];
  const works = flag(one, 'region');
  return [
    ...when(works !== undefined && works !== region, `${named(one)}: works in ${works}, and runs in ${region}`),
    ...when(
      component === 'cell' && args.includes('--standby') !== isStandby,
      `${named(one)}: ${isStandby ? 'serves without being asked to' : 'waits at home'}`,
    ),
  ];
}

/** A control plane that waits is started by an operator: applying it again neither starts nor stops it. */
export function waiting(ours: Parsed[], firsts: Parsed[], { component, isStandby }: Expected): string[] {
  const is = component === 'control-plane' && isStandby;
  const created = (one: Parsed) => firsts.some(({ metadata }) => metadata.name === one.metadata.name);
  return ours.flatMap((one) => [
    ...when(is && !created(one), `${named(one)}: runs before it is started`),
    ...when(
      (one.spec.replicas === undefined) !== is,
      `${named(one)}: ${is ? 'is started or stopped by being applied' : 'does not say how many processes it has'}`,
    ),
  ]);
}
