/**
 * How a version reaches cells and routers: by `ctl deploy` alone, with the right to change an image and no other. No
 * manifest that is applied again may ever say which image they run.
 */
import { VERSIONS_GROUP } from '../../../cdk/lib/names.ts';
import type { Expected } from '../expectations.ts';
import { container, named, podLabels, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

/** A deployment as it runs at first: with the image that it is created with, where it leaves it out. */
export function whole(one: Parsed, firsts: Parsed[]): Parsed {
  const first = firsts.find(({ metadata }) => one.kind === 'Deployment' && metadata.name === one.metadata.name);
  if (!first || container(one).image !== undefined) return one;
  const copy = structuredClone(one);
  container(copy).image = container(first).image;
  return copy;
}

/** What `ctl deploy` brings versions to. Routers of the second Region have no customers to judge one by. */
const isDeployed = ({ component, isStandby }: Expected) =>
  component === 'cell' || (component === 'router' && !isStandby);

/**
 * What is applied again and again must not say which image a cell or a router runs: it would take `ctl deploy`'s back. What is
 * created first must not own anything else that may change: it would stay for ever.
 */
export function firstImages(written: Parsed[], firsts: Parsed[], expected: Expected): string[] {
  const { component } = expected;
  const all = written.filter((one) => one.kind === 'Deployment' && !firsts.includes(one));
  const stray = firsts.filter(({ metadata, spec }) => {
    const one = all.find((each) => each.metadata.name === metadata.name);
    const { name, image } = container({ spec });
    const only = { containers: [{ name, image }] };
    return (
      !one ||
      name !== container(one).name ||
      JSON.stringify(spec.selector) !== JSON.stringify(one.spec.selector) ||
      JSON.stringify(spec.template) !== JSON.stringify({ metadata: { labels: spec.selector.matchLabels }, spec: only })
    );
  });
  const ours = all.filter((one) => isDeployed(expected) && podLabels(one)['app.kubernetes.io/name'] === component);
  return [
    ...stray.map((one) => `${named(one)}: is created as something else than it becomes`),
    ...ours
      .filter((one) => container(one).image !== undefined)
      .map((one) => `${named(one)}: says which image it runs, as ctl deploy alone may`),
  ];
}

/** The control plane may read and patch the deployments of a cell and of the routers, and nothing else in any cluster. */
export function versionsRights(documents: Parsed[], ours: Parsed[], expected: Expected): string[] {
  const rights = documents.filter((one) => /^(Cluster)?Role$/.test(one.kind));
  const bound = documents.filter((one) => /^(Cluster)?RoleBinding$/.test(one.kind));
  const subjects = bound.flatMap((one) => one.subjects as Parsed[]).map(({ kind, name }) => `${kind} ${name}`);
  const resourceNames = ours.map((one) => one.metadata.name as string);
  const rule = { apiGroups: ['apps'], resources: ['deployments'], resourceNames, verbs: ['get', 'patch'] };
  const wanted = isDeployed(expected) ? [['Role', [rule]]] : [];
  return [
    ...when(
      JSON.stringify(rights.map(({ kind, rules }) => [kind, rules])) !== JSON.stringify(wanted),
      `rights are ${JSON.stringify(rights.map(({ rules }) => rules))}`,
    ),
    ...when(
      subjects.join() !== (isDeployed(expected) ? `Group ${VERSIONS_GROUP}` : ''),
      `rights are given to ${subjects.join()}`,
    ),
  ];
}

/** That right is for the image: the API server refuses a patch by that group that it cannot judge, or that changes more. */
export function onlyTheImage(documents: Parsed[], expected: Expected): string[] {
  if (!isDeployed(expected)) return [];
  const of = (kind: string): Parsed[] => documents.filter((one) => one.kind === kind);
  const role = documents.findIndex((one) => one.kind === 'RoleBinding');
  const isHeld = of('ValidatingAdmissionPolicy').some(
    ({ metadata, spec }) =>
      spec.failurePolicy === 'Fail' &&
      spec.matchConditions.length === 1 &&
      spec.matchConditions[0].expression.endsWith(`'${VERSIONS_GROUP}' in request.userInfo.groups`) &&
      of('ValidatingAdmissionPolicyBinding').some(
        (one) =>
          one.spec.policyName === metadata.name &&
          JSON.stringify(one.spec.validationActions) === '["Deny"]' &&
          one.spec.matchResources === undefined &&
          documents.indexOf(one) < role,
      ),
  );
  return when(!isHeld, `${VERSIONS_GROUP} may change more of a ${expected.component} than its image`);
}
