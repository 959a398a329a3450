/**
 * What a patch by the control plane may change of the deployments of a cell and of the routers. Roles of Kubernetes know no fields, so a policy of
 * the API server holds each patch by this group against what was there. It is in the API server: no webhook has to answer.
 */
import { KUBERNETES_NAMESPACE, VERSIONS_GROUP } from '../../cdk/lib/names.ts';
import { metadata } from './workload.ts';
import type { Manifest } from './workload.ts';

/** As `control-plane/src/deploys/replacer/kubernetes/rollout.rs` names it. */
const ORDER = 'wallet/order';

const NAME = 'only-the-image';
/** What the API server itself writes with each change. */
const BOOKKEEPING = ['managedFields', 'generation', 'resourceVersion'];
const ANNOTATIONS = 'metadata.annotations';
const POD = 'spec.template.spec';

/** The deployment before and after, as maps: of objects with a schema, CEL does not list the fields. */
const [WAS, IS] = ['dyn(oldObject)', 'dyn(object)'];

/** In CEL: that two maps are alike, but for the values of some keys. */
function alike(was: string, is: string, but: readonly string[]): string {
  const may = `[${but.map((key) => `'${key}'`).join(', ')}]`;
  const half = (one: string, other: string) =>
    `${one}.all(key, key in ${may} || (key in ${other} && ${one}[key] == ${other}[key]))`;
  return `${half(was, is)} && ${half(is, was)}`;
}

const same = (path: string, but: readonly string[]) => alike(`${WAS}.${path}`, `${IS}.${path}`, but);
const orNone = (object: string) => `(has(${object}.${ANNOTATIONS}) ? ${object}.${ANNOTATIONS} : dyn({}))`;

/** All of a deployment, from the outside in: what one leaves out, a later one looks at. */
const unchanged = (container: string): [string, string][] => [
  ['metadata', same('metadata', ['annotations', ...BOOKKEEPING])],
  [`annotations but ${ORDER}`, alike(orNone(WAS), orNone(IS), [ORDER])],
  ['spec', same('spec', ['template'])],
  ['spec.template', same('spec.template', ['spec'])],
  [POD, same(POD, ['containers'])],
  [
    `containers but the image of ${container}`,
    `size(${IS}.${POD}.containers) == size(${WAS}.${POD}.containers) && ${IS}.${POD}.containers.all(is, ` +
      `${WAS}.${POD}.containers.exists(was, was.name == is.name && (is.name == '${container}' || was.image == is.image) && ` +
      `${alike('was', 'is', ['image'])}))`,
  ],
];

/** Both before the rights, so that none is ever given without them. They are of the whole cluster. */
export function onlyTheImage(component: 'cell' | 'router'): Manifest[] {
  const { name, labels } = metadata(NAME, component);
  const group = 'admissionregistration.k8s.io';
  return [
    {
      apiVersion: `${group}/v1`,
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name, labels },
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': KUBERNETES_NAMESPACE } },
          resourceRules: [
            { apiGroups: ['apps'], apiVersions: ['*'], resources: ['deployments'], operations: ['UPDATE'] },
          ],
        },
        matchConditions: [
          {
            name: 'by-the-control-plane',
            expression: `has(request.userInfo.groups) && '${VERSIONS_GROUP}' in request.userInfo.groups`,
          },
        ],
        validations: unchanged(component).map(([what, expression]) => ({
          expression,
          message: `${VERSIONS_GROUP} may change the image of ${component} and ${ORDER}: it must not change ${what}`,
        })),
      },
    },
    {
      apiVersion: `${group}/v1`,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name, labels },
      spec: { policyName: NAME, validationActions: ['Deny'] },
    },
  ];
}
