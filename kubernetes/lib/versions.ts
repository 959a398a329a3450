/**
 * How a version reaches cells and routers. The control plane brings it (`ctl deploy`): it may change their deployments,
 * and knows where each cluster is. No other manifest ever says which image they run.
 */
import type { Role } from '../../cdk/lib/cell-roles.ts';
import { CONTROL_PLANE_ADDRESS } from '../../cdk/lib/network/addresses.ts';
import {
  KUBERNETES_NAMESPACE,
  PORTS,
  PRIVATE_DOMAIN,
  VERSIONS_GROUP,
  clusterName,
  roleArn,
  versionsRole,
} from '../../cdk/lib/names.ts';
import { places, placesOf, stackOf } from '../../cdk/lib/places.ts';
import type { Place } from '../../cdk/lib/places.ts';
import { inPlace } from './settings.ts';
import type { Cell, Settings } from './settings.ts';
import { at, metadata, podSecurity, restricted, selected } from './workload.ts';
import type { Manifest } from './workload.ts';

const CLUSTERS = 'clusters';
/** Their stack, and what runs there. */
const ROUTER = 'router';
export const CLUSTERS_FILE = at(CLUSTERS, 'clusters.json');
export const DEPLOY = 'deploy';
/** What versions are of, as `ctl deploy start --of` calls it. */
export const PROGRAMS = ['cells', 'routers'] as const;
/** CodeBuild ends what takes eight hours. */
const FOLLOWED_SECONDS = 7 * 3_600;
const SECONDS_MAX = FOLLOWED_SECONDS + 600;
/** A pod that is lost with its node is made again, and follows the same deploy. */
const TRIES = 3;

/** `cell` or `router`: what `ctl deploy` brings versions to. */
type Component = 'cell' | 'router';

/**
 * What the deployments of a cell or of the routers are before they run anything: the image of what is new.
 * `cdk/scripts/apply` creates those that are not there. Everything else is applied over them and leaves the image alone,
 * so that what `ctl deploy` brings stays, also when both happen at once.
 */
export function firstImages(settings: Settings, component: Component, roles?: readonly Role[]): [string, Manifest][] {
  const { place, version, versions, routerVersion, routerVersions } = settings;
  const image = component === 'cell' ? versions[version] : routerVersions[routerVersion];
  return created(component, image, place, roles);
}

/** The same of a control plane in the second Region: that it runs nothing is not applied over what has been started. */
export const notStarted = ({ images, place }: Settings) => created('control-plane', images['control-plane'], place);

function created(
  component: string,
  image: string | undefined,
  { zones }: Place,
  roles?: readonly Role[],
): [string, Manifest][] {
  return inEach(zones, roles).map(([zone, role]) => {
    const { name, labels, selector } = selected(component, zone, role);
    const spec = {
      replicas: 0,
      selector: { matchLabels: selector },
      template: { metadata: { labels: selector }, spec: { containers: [{ name: component, image }] } },
    };
    return [name, { apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata(name, component, labels), spec }];
  });
}

/** Whatever there is once for each role in each zone. */
const inEach = (zones: readonly string[], roles: readonly Role[] = ['all']) =>
  roles.flatMap((role) => zones.map((zone) => [zone, role] as const));

/**
 * In their cluster: exactly what `control-plane/src/deploys/replacer/kubernetes/` asks of its API server. What a patch
 * may change: only-the-image.ts.
 */
export function versionsRights({ place }: Settings, component: Component, roles?: readonly Role[]): Manifest[] {
  const resourceNames = inEach(place.zones, roles).map(([zone, role]) => selected(component, zone, role).name);
  const group = 'rbac.authorization.k8s.io';
  return [
    {
      apiVersion: `${group}/v1`,
      kind: 'Role',
      metadata: metadata('versions', component),
      rules: [{ apiGroups: ['apps'], resources: ['deployments'], resourceNames, verbs: ['get', 'patch'] }],
    },
    {
      apiVersion: `${group}/v1`,
      kind: 'RoleBinding',
      metadata: metadata('versions', component),
      roleRef: { apiGroup: group, kind: 'Role', name: 'versions' },
      subjects: [{ apiGroup: group, kind: 'Group', name: VERSIONS_GROUP }],
    },
  ];
}

/**
 * What `--deploy-kubernetes` names. Where a cluster is, `cdk/scripts/apply` fills in: it is known once the stack is
 * there. Pods see a change within two minutes; the pipeline asks for a version after the bakes of all cells.
 */
export function clusters(settings: Settings): Manifest {
  const { config } = settings;
  const one = ({ id, account }: Pick<Cell, 'id' | 'account'>, place: Place) => {
    const name = clusterName(config, stackOf(id, place));
    return {
      server: `\${${name}.endpoint}`,
      certificateAuthority: at(CLUSTERS, `${stackOf(id, place)}.pem`),
      namespace: KUBERNETES_NAMESPACE,
      credentials: {
        eks: { name, region: place.region, role: roleArn(account!, versionsRole(config, stackOf(id, place))) },
      },
    };
  };
  const [home, other] = places(config);
  const away = config.cells.filter((cell) => cell.standby !== undefined);
  const standbys = other && {
    standbys: Object.fromEntries(
      away.map((cell) => [
        cell.id,
        { zones: other.zones, images: inPlace(settings, other).versions, cluster: one(cell, other) },
      ]),
    ),
  };
  const all = Object.fromEntries(config.cells.map((cell) => [cell.id, one(cell, home!)]));
  const stacks = config.cells.flatMap((cell) => placesOf(config, cell).map((place) => stackOf(cell.id, place)));
  const { versions: images, routerVersions } = inPlace(settings, home!);
  const routers = { images: routerVersions, cluster: one({ id: ROUTER, account: config.aws.router_account }, home!) };
  const file = { images, clusters: all, ...standbys, routers };
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadata(CLUSTERS, 'control-plane'),
    data: { 'clusters.json': JSON.stringify(file, undefined, 2) },
    // EKS says it in base64, as this field wants it.
    binaryData: Object.fromEntries(
      [...stacks, ROUTER].map((stack) => [`${stack}.pem`, `\${${clusterName(config, stack)}.authority}`]),
    ),
  };
}

/** The routers that the control plane knows: those of a zone have one address, as a cell's do. */
export const namedRouters = ({ place: { zones } }: Settings): string =>
  zones
    .map((zone) => {
      const address = `https://${zone}.${ROUTER}.${PRIVATE_DOMAIN}:${PORTS.admin}`;
      return `${selected(ROUTER, zone).name}@${zone}=${address}`;
    })
    .join(',');

/**
 * The job by which the pipeline has a version brought, and its verdict. It may run again at any time: it follows a
 * deploy that is under way, and begins none for a version that was taken back. cdk/scripts/deploy makes it again each time.
 */
export function deployJob(settings: Settings, of: (typeof PROGRAMS)[number]): Manifest[] {
  const { images, version, routerVersion } = settings;
  const server = `control-plane.${PRIVATE_DOMAIN}`;
  return [
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: metadata(`${DEPLOY}-${of}`, DEPLOY),
      spec: {
        backoffLimit: TRIES,
        activeDeadlineSeconds: SECONDS_MAX,
        // What `ctl` says is its last word; a pod that was lost has said nothing.
        podFailurePolicy: {
          rules: [
            { action: 'FailJob', onExitCodes: { containerName: DEPLOY, operator: 'In', values: [1, 2, 3, 4, 5, 6] } },
          ],
        },
        template: {
          metadata: { labels: { 'app.kubernetes.io/name': DEPLOY, 'app.kubernetes.io/part-of': 'wallet' } },
          spec: {
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            restartPolicy: 'Never',
            // Certificates carry the role, not the service's own name.
            hostAliases: [{ ip: CONTROL_PLANE_ADDRESS, hostnames: [server] }],
            securityContext: podSecurity(),
            containers: [
              {
                name: DEPLOY,
                image: images.ctl,
                args: [
                  `--server=https://${server}:${PORTS.controlPlane}`,
                  `--ca=${at('mesh', 'ca.crt')}`,
                  '--actor=pipeline',
                  '--reason=the version of settings.json',
                  'deploy',
                  'start',
                  `--of=${of}`,
                  `--version=${of === 'cells' ? version : routerVersion}`,
                  '--once',
                  '--yes',
                  `--wait=${FOLLOWED_SECONDS}`,
                ],
                env: [{ name: 'CTL_TOKEN', valueFrom: { secretKeyRef: { name: 'pipeline', key: 'token' } } }],
                resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '128Mi' } },
                securityContext: restricted(),
                volumeMounts: [{ name: 'mesh', mountPath: at('mesh', '').slice(0, -1), readOnly: true }],
              },
            ],
            // The authority alone: the key beside it is the control plane's.
            volumes: [
              {
                name: 'mesh',
                secret: { secretName: 'mesh', defaultMode: 0o440, items: [{ key: 'ca.crt', path: 'ca.crt' }] },
              },
            ],
          },
        },
      },
    },
  ];
}
