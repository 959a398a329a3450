/**
 * What must hold of the manifests of one stack, beyond what the schema of Kubernetes says. Judges what was written, not
 * what writes it; each finding says what is wrong with which object.
 */
import { cellTargets } from '../../cdk/lib/cell-roles.ts';
import type { Role } from '../../cdk/lib/cell-roles.ts';
import { VERSIONS_GROUP } from '../../cdk/lib/names.ts';
import { binary } from './sources.ts';

/**
 * For so long a network load balancer opens connections to a target that was taken out of its group, as others measured
 * (kubernetes-sigs/aws-load-balancer-controller, issue 2366). The delay of our target groups is below it.
 */
const DEREGISTRATION_SECONDS = 120;

// Objects as they were parsed: their shape was judged by the schema before.
type Parsed = any;

export interface Expected {
  /** `cell`, `router` or `control-plane`. */
  readonly component: string;
  /** In which they run. */
  readonly region: string;
  readonly zones: readonly string[];
  /** Whether this is the second Region, in which a cell waits until its tables say that it serves. */
  readonly isStandby: boolean;
  /** Whether a process that waits is as it should be: of a cell in two Regions. */
  readonly mayWait: boolean;
  /** The Region of the archive. */
  readonly archive: string;
  /** What its processes do, each role in each zone. */
  readonly roles: readonly Role[];
  /** Writes a second that all zones but one have to take, for each role; 0: none given. */
  readonly peak: number;
  /** Named outputs of the stack, which bindings may refer to. */
  readonly outputs: readonly string[];
}

const ENUMS: Record<string, readonly string[]> = {
  protocol: ['TCP', 'UDP'],
  scheme: ['HTTPS', 'HTTP'],
  whenUnsatisfiable: ['DoNotSchedule'],
  nodeTaintsPolicy: ['Honor'],
  unhealthyPodEvictionPolicy: ['AlwaysAllow'],
  trafficDistribution: ['PreferClose'],
};

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

/** A deployment as it runs at first: with the image that it is created with, where it leaves it out. */
function whole(one: Parsed, firsts: Parsed[]): Parsed {
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
function firstImages(written: Parsed[], firsts: Parsed[], expected: Expected): string[] {
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
function versionsRights(documents: Parsed[], ours: Parsed[], expected: Expected): string[] {
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
function onlyTheImage(documents: Parsed[], expected: Expected): string[] {
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

const named = (one: Parsed) => `${one.kind} ${one.metadata?.name}`;
const matches = (selector: Record<string, string> | undefined, labels: Record<string, string>) =>
  Object.entries(selector ?? {}).every(([name, value]) => labels[name] === value);
const podLabels = (one: Parsed) => one.spec.template.metadata.labels as Record<string, string>;
const container = (one: Parsed) => one.spec.template.spec.containers[0];
const when = (isWrong: boolean, what: string) => (isWrong ? [what] : []);

/** By its label, which services and budgets select it by. */
const roleOf = (one: Parsed): string => podLabels(one)['role'] ?? 'all';

/** Each role has its processes in each zone, and there is no other. */
function roles(ours: Parsed[], expected: Expected): string[] {
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

/** What a process does is what its address is for. */
function doing(one: Parsed, { component }: Expected): string[] {
  const does = flag(one, 'role');
  return when(
    component === 'cell' && does !== roleOf(one),
    `${named(one)}: does ${does}, and is reached for ${roleOf(one)}`,
  );
}

/** A target group of a cell's role leads to processes that have it: routers choose by the address. */
function leading(all: Parsed[], there: Parsed[], ours: Parsed[], { component, roles }: Expected): string[] {
  if (component !== 'cell') return [];
  return roles.flatMap((role) => {
    const bound = all.filter((one) => one.spec.targetGroupARN === `\${${cellTargets(role)}}`);
    const served = there.filter((one) => bound.some(({ spec }) => spec.serviceRef.name === one.metadata.name));
    return served
      .filter((one) => ours.some((each) => matches(one.spec.selector, podLabels(each)) && roleOf(each) !== role))
      .map((one) => `${named(one)}: leads to others than ${role}`);
  });
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

/** A pod that is made is ready only when its target is: the namespace asks for it, and what binds is there before. */
function gates(documents: Parsed[], ours: Parsed[]): string[] {
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

/** What all zones but one take of each role, by the flags of their processes: each has to take its part of that. */
function capacity(one: Parsed, { zones: { length }, peak }: Expected): string[] {
  if (peak === 0) return [];
  const share = Number(flag(one, 'max-tps'));
  const left = one.spec.replicas * (length - 1) * share;
  return when(!(left >= peak), `${named(one)}: with a zone gone, processes take ${left} writes a second of ${peak}`);
}

function ending(one: Parsed, { component }: Expected): string[] {
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

function probes(one: Parsed, { mayWait }: Expected): string[] {
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

/** In which Region a process works, and which one it takes for the cell's home until the tables say. */
function standing(one: Parsed, { component, isStandby, region }: Expected): string[] {
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
function waiting(ours: Parsed[], firsts: Parsed[], { component, isStandby }: Expected): string[] {
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

/** An image of another Region is not there when that is lost. */
function registry(one: Parsed, { region }: Expected): string[] {
  const images = (one.spec.template.spec.containers as Parsed[]).map(({ image }) => image as string | undefined);
  return images
    .filter((image) => image !== undefined && !image.includes(`.dkr.ecr.${region}.amazonaws.com/`))
    .map((image) => `${named(one)}: ${image} is not of the registry in ${region}`);
}

/** Not read by the sources of a process: by its own arguments, and by the client of S3. */
const OTHERS = ['POD_NAME', 'AWS_REGION'];

/** The client of S3 takes the bucket's Region from the environment, which EKS would fill with the cluster's. */
function archiving(one: Parsed, { archive }: Expected): string[] {
  const of = (container(one).env as { name: string; value?: string }[]).find(({ name }) => name === 'AWS_REGION');
  return when(
    flag(one, 'archive') !== undefined && of?.value !== archive,
    `${named(one)}: looks for the archive in ${of?.value}, not ${archive}`,
  );
}

/** Spans go to a service of this cluster, past the policies at both of its ends. */
function tracing(one: Parsed, documents: Parsed[]): string[] {
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

/** Jobs that start another program than the stack's own. */
const PROGRAMS: Record<string, string> = { 'deploy-cells': 'ctl', 'deploy-routers': 'ctl' };

/** What the process is started with: an image by digest, and only what its source takes. */
function starting(one: Parsed, expected: Expected): string[] {
  const component = PROGRAMS[one.metadata.name as string] ?? expected.component;
  const { flags, switches, variables, subcommands, isListed } = binary(component);
  const { args, env, image } = container(one) as { args: string[]; env: { name: string }[]; image?: string };
  const unknown = args.filter((arg) => {
    const [, name, value] = /^--([\w-]+)(=.)?/.exec(arg) ?? [];
    if (name === undefined) return !subcommands.has(arg);
    return value === undefined ? !switches.has(name) : !flags.has(name);
  });
  const strays = env.map(({ name }) => name).filter((name) => !OTHERS.includes(name) && !variables.has(name));
  return [
    ...when(!isListed, `${component} is no binary of the workspace`),
    ...unknown.map((arg) => `${named(one)}: ${component} takes no ${arg}`),
    ...strays.map((name) => `${named(one)}: ${component} reads no ${name}`),
    ...when(!image?.includes(`/${component}@sha256:`), `${named(one)}: ${image} is not ${component} by digest`),
    ...when(
      args.some((arg) => arg.includes('$(POD_NAME)')) && !env.some(({ name }) => name === 'POD_NAME'),
      `${named(one)}: POD_NAME is not set`,
    ),
  ];
}

/** A deploy waits for it; services and budgets are for what serves. */
function job(one: Parsed, { component }: Expected): string[] {
  const { activeDeadlineSeconds, backoffLimit, template } = one.spec;
  return [
    ...when(
      !(activeDeadlineSeconds > 0 && backoffLimit >= 0) || template.spec.restartPolicy !== 'Never',
      `${named(one)}: may go on without end`,
    ),
    ...when(
      podLabels(one)['app.kubernetes.io/name'] === component,
      `${named(one)}: is taken for a process of ${component}`,
    ),
  ];
}

function rights(one: Parsed): string[] {
  const pod = one.spec.template.spec;
  return [
    ...when(
      pod.securityContext?.runAsNonRoot !== true || !(pod.securityContext.runAsUser > 0),
      `${named(one)}: may be root`,
    ),
    ...when(pod.securityContext?.seccompProfile?.type !== 'RuntimeDefault', `${named(one)}: without seccomp`),
    ...when(pod.automountServiceAccountToken !== false, `${named(one)}: is given a token of the cluster`),
    ...(pod.containers as Parsed[]).flatMap(({ securityContext: own, resources, image }) => [
      ...when(own?.readOnlyRootFilesystem !== true, `${named(one)}: may write to its image`),
      ...when(own?.allowPrivilegeEscalation !== false, `${named(one)}: may gain rights`),
      ...when(JSON.stringify(own?.capabilities) !== '{"drop":["ALL"]}', `${named(one)}: keeps capabilities`),
      ...when(
        resources?.limits?.memory === undefined || resources.requests?.cpu === undefined,
        `${named(one)}: without bounds`,
      ),
      ...when(!/@sha256:[0-9a-f]{64}$/.test(image), `${named(one)}: image without a digest`),
    ]),
  ];
}

/** Only what carries logs sees a folder of its node, and only to read what containers log. */
function ofNode(one: Parsed): string[] {
  const { containers, hostNetwork, hostPID, hostIPC, securityContext, volumes = [] } = one.spec.template.spec;
  const seen = (volumes as Parsed[]).filter(({ hostPath }) => hostPath !== undefined);
  const mounts = (containers as Parsed[]).flatMap(({ volumeMounts = [] }) => volumeMounts as Parsed[]);
  const reads = seen.every(
    ({ name, hostPath }) =>
      hostPath.path === '/var/log/pods' && mounts.every((each) => each.name !== name || each.readOnly === true),
  );
  return [
    ...when(seen.length > 0 && one.kind !== 'DaemonSet', `${named(one)}: sees a folder of its node`),
    ...when(!reads, `${named(one)}: may do more on its node than read what containers log`),
    ...when(Boolean(hostNetwork || hostPID || hostIPC), `${named(one)}: is not apart from its node`),
    ...when(seen.length === 0 && securityContext?.runAsGroup === 0, `${named(one)}: is of root's group`),
  ];
}

/** Every file that a flag names is in something mounted, and ConfigMaps that we write ourselves hold it. */
function mounted(one: Parsed, maps: Parsed[]): string[] {
  const { volumes = [], containers } = one.spec.template.spec;
  return (containers as Parsed[]).flatMap((each) => mountedIn(one, each, volumes, maps));
}

function mountedIn(one: Parsed, each: Parsed, volumes: Parsed[], maps: Parsed[]): string[] {
  const { volumeMounts = [], args = [], readinessProbe } = each;
  const words: string[] = [...args, ...(readinessProbe?.exec?.command ?? [])];
  const files = words.map((word) => /(?:^|=)(\/etc\/wallet\/.*)$/.exec(word)?.[1]).filter((file) => file !== undefined);
  return [
    ...files
      .filter(
        (file) =>
          !volumeMounts.some((mount: Parsed) => file === mount.mountPath || file.startsWith(`${mount.mountPath}/`)),
      )
      .map((file) => `${named(one)}: nothing is mounted at ${file}`),
    ...volumeMounts
      .filter((mount: Parsed) => !volumes.some((volume: Parsed) => volume.name === mount.name))
      .map((mount: Parsed) => `${named(one)}: no volume ${mount.name}`),
    ...maps
      .filter((map) => volumes.some((volume: Parsed) => volume.configMap?.name === map.metadata.name))
      .flatMap((map) =>
        files
          .filter(
            (file) =>
              file.startsWith(`/etc/wallet/${map.metadata.name}/`) && map.data[file.split('/').at(-1)!] === undefined,
          )
          .map((file) => `${named(one)}: ${named(map)} has no ${file}`),
      ),
  ];
}

/** One for each role: Kubernetes evicts no pod that two of them select. */
function budgets(all: Parsed[], ours: Parsed[], { component, roles }: Expected): string[] {
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

/**
 * Everything is denied in both directions; every deployment has its own exceptions, and the policies select no
 * others.
 */
function policies(all: Parsed[], deployments: Parsed[]): string[] {
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

/** A service leads to a port that a container has, and that may be reached. */
function services(all: Parsed[], deployments: Parsed[], allowed: Parsed[]): string[] {
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
function bindings(all: Parsed[], there: Parsed[], { outputs }: Expected): string[] {
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

/** Words that the schema does not check. */
function enums(value: unknown, where: string): string[] {
  if (Array.isArray(value)) return value.flatMap((one) => enums(one, where));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, one]) => [
    ...when(
      ENUMS[name] !== undefined && typeof one === 'string' && !ENUMS[name].includes(one),
      `${where}: ${name} ${String(one)}`,
    ),
    ...enums(one, where),
  ]);
}

function flag(one: Parsed, name: string): string | undefined {
  const arg = (container(one).args as string[]).find((word) => word.startsWith(`--${name}=`));
  return arg?.slice(name.length + 3);
}
