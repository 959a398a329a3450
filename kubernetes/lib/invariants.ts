/**
 * What must hold of the manifests of one stack, beyond what the schema of Kubernetes says. Judges what was written, not
 * what writes it; each finding says what is wrong with which object. This file runs the invariants; those of each
 * subject are in invariants/.
 */
import type { Expected } from './expectations.ts';
import { bindings, leading, services } from './invariants/addresses.ts';
import { archiving, job, mounted, registry, starting } from './invariants/commands.ts';
import { ofNode, rights } from './invariants/confinement.ts';
import { named } from './invariants/parsed.ts';
import type { Parsed } from './invariants/parsed.ts';
import { policies, tracing } from './invariants/policies.ts';
import { capacity, doing, roles, standing, waiting } from './invariants/processes.ts';
import { budgets, ending, gates, probes } from './invariants/rollouts.ts';
import { firstImages, onlyTheImage, versionsRights, whole } from './invariants/versions.ts';
import { enums } from './invariants/words.ts';

export function findings(written: Parsed[], expected: Expected): string[] {
  const isFirst = (one: Parsed) => one.kind === 'Deployment' && one.spec.replicas === 0;
  const firsts = written.filter(isFirst);
  const documents = written.filter((one) => !isFirst(one)).map((one) => whole(one, firsts));
  const of = (kind: string): Parsed[] => documents.filter((one) => one.kind === kind);
  const pods = [...of('Deployment'), ...of('DaemonSet'), ...of('Job')];
  const ours = of('Deployment').filter((one) => one.metadata.labels['app.kubernetes.io/name'] === expected.component);
  return [
    ...firstImages(written, firsts, expected),
    ...versionsRights(documents, ours, expected),
    ...onlyTheImage(documents, expected),
    ...roles(ours, expected),
    ...waiting(ours, firsts, expected),
    ...gates(documents, ours),
    ...ours.flatMap((one) => [
      ...capacity(one, expected),
      ...ending(one, expected),
      ...probes(one, expected),
      ...standing(one, expected),
      ...starting(one, expected),
      ...archiving(one, expected),
      ...doing(one, expected),
      ...tracing(one, documents),
    ]),
    ...of('Job').flatMap((one) => [...job(one, expected), ...starting(one, expected)]),
    ...pods.flatMap((one) => [
      ...registry(one, expected),
      ...rights(one),
      ...ofNode(one),
      ...mounted(one, of('ConfigMap')),
    ]),
    ...budgets(of('PodDisruptionBudget'), ours, expected),
    ...policies(of('NetworkPolicy'), pods),
    ...services(of('Service'), [...of('Deployment'), ...of('DaemonSet')], of('NetworkPolicy')),
    ...bindings(of('TargetGroupBinding'), of('Service'), expected),
    ...leading(of('TargetGroupBinding'), of('Service'), ours, expected),
    ...documents.flatMap((one) => enums(one, named(one))),
  ];
}
