import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { containerFindings } from '../../kubernetes/lib/containers.ts';
import { expectations } from '../../kubernetes/lib/expectations.ts';
import { findings } from '../../kubernetes/lib/invariants.ts';
import { load } from '../../kubernetes/lib/settings.ts';
import { binary } from '../../kubernetes/lib/sources.ts';
import { manifests, written as writtenOf } from '../../kubernetes/lib/stacks.ts';
import { EXAMPLE } from '../lib/settings.ts';
import { parseAllDocuments } from '../lib/yaml.ts';
import { exampleText, resources, synthesized, twoRegionsText } from './synthesized.ts';

const settings = load(EXAMPLE);
const expected = expectations(settings.config);
const two = load(fileURLToPath(new URL('../example-two-regions', import.meta.url)));
const split = load(fileURLToPath(new URL('../example-split-roles', import.meta.url)));
const expectedOfTwo = expectations(two.config);
const SECOND = 'cell-1-eu-central-1';
type Parsed = any;

/** A copy of a stack's manifests, and a way to find one of them. */
function copy(stack: string, of = settings): { all: Parsed[]; get: (kind: string, name: string) => Parsed } {
  const all: Parsed[] = structuredClone([...manifests(of).get(stack)!.values()].flat());
  const get = (kind: string, name: string) => {
    const found = all.find((one) => one.kind === kind && one.metadata.name === name);
    if (!found) throw new Error(`no ${kind} ${name}`);
    return found;
  };
  return { all, get };
}

/** A deployment with something else in its settings.json. */
function loadedWith(changed: object, of = '../example'): void {
  const folder = mkdtempSync(join(tmpdir(), 'wallet-settings-'));
  cpSync(fileURLToPath(new URL(of, import.meta.url)), folder, { recursive: true });
  const given = JSON.parse(readFileSync(join(folder, 'settings.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ ...given, ...changed }));
  try {
    load(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const cell = (get: ReturnType<typeof copy>['get']) => get('Deployment', 'cell-eu-west-1a');
const pod = (deployment: Parsed) => deployment.spec.template.spec;
/** What a deployment of the cell is created as. */
const first = (all: Parsed[]) => all.find((one) => one.kind === 'Deployment' && one.spec.replicas === 0);

it.each([...expected.keys()])('%s is as it must be', (stack) => {
  expect(findings(copy(stack).all, expected.get(stack)!)).toEqual([]);
});

it('there are manifests for every stack, and for nothing else', () => {
  expect([...manifests(settings).keys()].sort()).toEqual([...expected.keys()].sort());
});

describe('of a cell in two Regions', () => {
  it.each([...expectedOfTwo.keys()])('%s is as it must be', (stack) => {
    expect(findings(copy(stack, two).all, expectedOfTwo.get(stack)!)).toEqual([]);
  });

  it.each([
    ['waits for what it is at home', 'cell-1', (args: string[]) => args.push('--standby'), 'waits at home'],
    [
      'serves before it is asked to',
      SECOND,
      (args: string[]) => args.splice(args.indexOf('--standby'), 1),
      'serves without being asked to',
    ],
    [
      'works in the other Region',
      SECOND,
      (args: string[]) => (args[args.indexOf('--region=eu-central-1')] = '--region=eu-west-1'),
      'works in eu-west-1, and runs in eu-central-1',
    ],
  ])('one that %s is found', (_, stack, mistake, words) => {
    const all = copy(stack, two);
    mistake(pod(all.all.find((one) => one.kind === 'Deployment' && one.spec.replicas === 1)).containers[0].args);
    expect(findings(all.all, expectedOfTwo.get(stack)!).join('\n')).toContain(words);
  });

  it('one that is not ready while it waits is found, as is an image of the other Region', () => {
    const all = copy(SECOND, two);
    const deployment = all.get('Deployment', 'cell-eu-central-1a');
    pod(deployment).containers[0].readinessProbe.exec.command.push('https://cell.wallet.internal:8091/readyz');
    pod(all.get('Deployment', 'collector')).containers[0].image = settings.images.collector;
    const found = findings(all.all, expectedOfTwo.get(SECOND)!);
    expect(found).toEqual([
      expect.stringContaining('readinessProbe asks https://cell.wallet.internal:8091/readyz'),
      expect.stringContaining('is not of the registry in eu-central-1'),
    ]);
  });

  const WAITING = 'control-plane-eu-central-1';

  it.each([
    [
      'says how many processes run',
      (all: Parsed[], name: string) => {
        const applied = all.find((one) => one.metadata.name === name && one.spec.replicas === undefined);
        applied.spec.replicas = 1;
      },
      'is started or stopped by being applied',
    ],
    [
      'is not created without a process before',
      (all: Parsed[], name: string) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === name && one.spec.replicas === 0),
          1,
        ),
      'runs before it is started',
    ],
  ])('a control plane that waits and %s is found', (_, mistake, words) => {
    const all = copy(WAITING, two).all;
    mistake(all, 'control-plane-eu-central-1a');
    expect(findings(all, expectedOfTwo.get(WAITING)!).join('\n')).toContain(
      `Deployment control-plane-eu-central-1a: ${words}`,
    );
  });

  it('a control plane that waits makes no placement, and knows the clusters that the one at home knows', () => {
    expect(copy(WAITING, two).all.filter(({ kind }) => kind === 'Job')).toEqual([]);
    const known = (stack: string) => copy(stack, two).get('ConfigMap', 'clusters').data;
    expect(known(WAITING)).toEqual(known('control-plane'));
    const { args } = pod(copy(WAITING, two).get('Deployment', 'control-plane-eu-central-1a')).containers[0];
    expect(args).toContain('--region=eu-central-1');
  });

  it('nothing is missed that comes to the second Region only when it is needed', () => {
    const alerts = (stack: string) => copy(stack, two).get('ConfigMap', 'monitoring').data['alerts.yml'] as string;
    const named = (stack: string) => [...alerts(stack).matchAll(/alert: (\w+)/g)].map(([, name]) => name!);
    expect(named('router').filter((name) => !named('router-eu-central-1').includes(name))).toEqual(['RequestsUnknown']);
    expect(named('control-plane').filter((name) => !named(WAITING).includes(name))).toEqual(['ControlPlaneDown']);
    expect(named('router-eu-central-1')).toContain('RoutersDown');
  });

  it.each([
    ['a second Region alone', { 'eu-central-1a': 'a' }, 'switches are of eu-central-1a, the zones'],
    ['a zone too few', { 'eu-west-1a': 'a', 'eu-west-1b': 'b' }, 'switches are of eu-west-1a, eu-west-1b, the zones'],
  ])('switches of %s are refused', (_, switches, words) => {
    expect(() => loadedWith({ switches }, '../example-two-regions')).toThrow(words);
  });

  it('the control plane brings it a version in the Region of its zones, from the registry there', () => {
    const { data, binaryData } = copy('control-plane', two).get('ConfigMap', 'clusters');
    const { standbys } = JSON.parse(data['clusters.json']);
    expect(standbys).toEqual({
      'cell-1': {
        zones: ['eu-central-1a', 'eu-central-1b', 'eu-central-1c'],
        images: { '1.0.0': expect.stringContaining('.dkr.ecr.eu-central-1.amazonaws.com/wallet/cell@sha256:') },
        cluster: {
          server: '${wallet-cell-1-eu-central-1.endpoint}',
          certificateAuthority: '/etc/wallet/clusters/cell-1-eu-central-1.pem',
          namespace: 'wallet',
          credentials: {
            eks: {
              name: 'wallet-cell-1-eu-central-1',
              region: 'eu-central-1',
              role: 'arn:aws:iam::300000000001:role/wallet-cell-1-eu-central-1-versions',
            },
          },
        },
      },
    });
    expect(binaryData['cell-1-eu-central-1.pem']).toBe('${wallet-cell-1-eu-central-1.authority}');
    // The registry, and so the placement, has it at the addresses that cells.toml lists.
    const { instances } = two.config.cells[0]!.standby!;
    for (const { address, zone } of instances) expect(address).toBe(`${zone}.${SECOND}.wallet.internal:8091`);
  });
});

describe('what is wrong is found', () => {
  const mistakes: [string, (all: ReturnType<typeof copy>) => void, string][] = [
    [
      'a zone is forgotten',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === 'cell-eu-west-1b'),
          1,
        ),
      'stand in zones',
    ],
    [
      'a zone has more than another',
      ({ get }) => {
        cell(get).spec.replicas = 2;
      },
      'different numbers',
    ],
    [
      'each zone has more than one process of a cell',
      ({ all }) => {
        for (const one of all) if (one.kind === 'Deployment' && one.spec.replicas === 1) one.spec.replicas = 2;
      },
      'several processes of a cell have one address',
    ],
    [
      'too few are left without a zone',
      ({ get }) => {
        set(cell(get), '--max-tps=', '2000');
      },
      'take 4000 writes a second of 5000',
    ],
    [
      'killed while draining',
      ({ get }) => {
        pod(cell(get)).terminationGracePeriodSeconds = 28;
      },
      'killed 28 s',
    ],
    [
      'no pause',
      ({ get }) => {
        delete pod(cell(get)).containers[0].lifecycle;
      },
      'stops after undefined s',
    ],
    [
      'a pause shorter than load balancers need',
      ({ get }) => {
        pod(cell(get)).containers[0].lifecycle.preStop.sleep.seconds = 20;
      },
      'load balancers need 120 s to leave it, and it stops after 20 s',
    ],
    [
      'ready before load balancers know it',
      ({ get }) => {
        delete get('Namespace', 'wallet').metadata.labels['eks.amazonaws.com/pod-readiness-gate-inject'];
      },
      'before load balancers know them',
    ],
    [
      'bound after its pods are made',
      ({ all }) =>
        all.push(
          ...all.splice(
            all.findIndex((one) => one.kind === 'TargetGroupBinding'),
            1,
          ),
        ),
      'TargetGroupBinding cell: comes after',
    ],
    [
      'alive only when ready',
      ({ get }) => {
        pod(cell(get)).containers[0].livenessProbe = pod(cell(get)).containers[0].readinessProbe;
      },
      'livenessProbe asks',
    ],
    [
      'a flag that is none',
      ({ get }) => {
        pod(cell(get)).containers[0].args.push('--dynamo=x');
      },
      'takes no --dynamo',
    ],
    [
      'another subcommand',
      ({ get }) => {
        pod(cell(get)).containers[0].args[0] = 'server';
      },
      'takes no server',
    ],
    [
      'a variable that is never read',
      ({ get }) => {
        pod(cell(get)).containers[0].env.push({ name: 'CELL_X', value: '1' });
      },
      'reads no CELL_X',
    ],
    [
      'the archive is looked for in another Region',
      ({ get }) => {
        pod(cell(get)).containers[0].env.at(-1).value = 'us-east-1';
      },
      'looks for the archive in us-east-1, not eu-west-1',
    ],
    [
      'spans that are sent nowhere',
      ({ get }) => {
        get('Service', 'collector').metadata.name = 'elsewhere';
      },
      'sends its spans to no service',
    ],
    [
      'spans that may not leave',
      ({ get }) => {
        get('NetworkPolicy', 'allow-cell').spec.egress.splice(2, 1);
      },
      'its spans are not let out',
    ],
    [
      'spans that may not arrive',
      ({ get }) => {
        get('NetworkPolicy', 'allow-collector').spec.ingress = [];
      },
      'its spans are not let in',
    ],
    [
      'an image by tag',
      ({ get }) => {
        pod(cell(get)).containers[0].image = 'wallet/cell:latest';
      },
      'image without a digest',
    ],
    [
      'another image',
      ({ get }) => {
        pod(cell(get)).containers[0].image = settings.routerVersions['1.0.0'];
      },
      'is not cell by digest',
    ],
    [
      'the image of a cell is applied',
      ({ get }) => {
        pod(cell(get)).containers[0].image = settings.versions['1.0.0'];
      },
      'cell-eu-west-1a: says which image it runs',
    ],
    [
      'a cell is created with no image',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.kind === 'Deployment' && one.spec.replicas === 0),
          1,
        ),
      'undefined is not cell by digest',
    ],
    [
      'a cell is created by tag',
      ({ all }) => {
        pod(first(all)).containers[0].image = 'wallet/cell:latest';
      },
      'image without a digest',
    ],
    [
      'what creates a cell would stay for ever',
      ({ all }) => {
        pod(first(all)).containers[0].args = ['serve'];
      },
      'is created as something else than it becomes',
    ],
    [
      'what creates a cell is for other pods',
      ({ all }) => {
        first(all).spec.selector.matchLabels.zone = 'eu-west-1b';
      },
      'is created as something else than it becomes',
    ],
    [
      'the control plane may delete a cell',
      ({ get }) => {
        get('Role', 'versions').rules[0].verbs.push('delete');
      },
      'rights are',
    ],
    [
      'the control plane may change another deployment',
      ({ get }) => {
        get('Role', 'versions').rules[0].resourceNames.push('collector');
      },
      'rights are',
    ],
    [
      'another group has the rights',
      ({ get }) => {
        get('RoleBinding', 'versions').subjects[0].name = 'system:authenticated';
      },
      'rights are given to Group system:authenticated',
    ],
    [
      'a patch that cannot be judged is let through',
      ({ get }) => {
        get('ValidatingAdmissionPolicy', 'only-the-image').spec.failurePolicy = 'Ignore';
      },
      'may change more of a cell than its image',
    ],
    [
      'what a patch may change is only warned of',
      ({ get }) => {
        get('ValidatingAdmissionPolicyBinding', 'only-the-image').spec.validationActions = ['Warn'];
      },
      'may change more of a cell than its image',
    ],
    [
      'the policy is for another group than the rights',
      ({ get }) => {
        const [condition] = get('ValidatingAdmissionPolicy', 'only-the-image').spec.matchConditions;
        condition.expression = condition.expression.replace('wallet-versions', 'others');
      },
      'may change more of a cell than its image',
    ],
    [
      'root',
      ({ get }) => {
        pod(cell(get)).securityContext.runAsUser = 0;
      },
      'may be root',
    ],
    [
      'a capability',
      ({ get }) => {
        pod(cell(get)).containers[0].securityContext.capabilities.add = ['NET_RAW'];
      },
      'keeps capabilities',
    ],
    [
      'the collector may write',
      ({ get }) => {
        pod(get('Deployment', 'collector')).containers[0].securityContext.readOnlyRootFilesystem = false;
      },
      'may write',
    ],
    [
      'a folder of the node, beside our processes',
      ({ get }) => {
        pod(cell(get)).volumes.push({ name: 'node', hostPath: { path: '/var/log/pods' } });
      },
      'cell-eu-west-1a: sees a folder of its node',
    ],
    [
      'another folder of the node',
      ({ get }) => {
        pod(get('DaemonSet', 'log-carrier')).volumes[1].hostPath.path = '/var/log';
      },
      'may do more on its node',
    ],
    [
      'a carrier of logs that may change them',
      ({ get }) => {
        delete pod(get('DaemonSet', 'log-carrier')).containers[0].volumeMounts[1].readOnly;
      },
      'may do more on its node',
    ],
    [
      'a carrier of logs that may be root',
      ({ get }) => {
        pod(get('DaemonSet', 'log-carrier')).securityContext.runAsUser = 0;
      },
      'may be root',
    ],
    [
      'the network of the node',
      ({ get }) => {
        pod(get('DaemonSet', 'log-carrier')).hostNetwork = true;
      },
      'is not apart from its node',
    ],
    [
      'nothing is denied where logs are carried',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === 'deny-all' && one.metadata.namespace === 'wallet-logs'),
          1,
        ),
      'not everything is denied',
    ],
    [
      'a secret that is not mounted',
      ({ get }) => {
        pod(cell(get)).containers[0].volumeMounts.shift();
      },
      'nothing is mounted at /etc/wallet/mesh',
    ],
    [
      'a volume that is not there',
      ({ get }) => {
        pod(cell(get)).volumes.shift();
      },
      'no volume mesh',
    ],
    [
      'two leave at once',
      ({ get }) => {
        get('PodDisruptionBudget', 'cell').spec.maxUnavailable = 2;
      },
      'more than one may leave',
    ],
    [
      'nothing is denied',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === 'deny-all'),
          1,
        ),
      'not everything is denied',
    ],
    [
      'every port is let through',
      ({ get }) => {
        delete get('NetworkPolicy', 'allow-cell').spec.egress[2].ports;
      },
      'lets every port',
    ],
    [
      'a policy that selects no pod',
      ({ get }) => {
        get('NetworkPolicy', 'allow-cell').spec.podSelector.matchLabels = { a: 'b' };
      },
      'selects no pod',
    ],
    [
      'its port is closed',
      ({ get }) => {
        get('NetworkPolicy', 'allow-cell').spec.ingress.forEach((rule: Parsed) => {
          rule.ports[0].port = 1;
        });
      },
      'is not let through',
    ],
    [
      'a service without a pod behind it',
      ({ get }) => {
        get('Service', 'cell').spec.selector = { a: 'b' };
      },
      'no pod is behind',
    ],
    [
      'a service to another port',
      ({ get }) => {
        get('Service', 'cell').spec.ports[0].port = 80;
      },
      'not 80',
    ],
    [
      'a target group without pods',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.kind === 'TargetGroupBinding'),
          1,
        ),
      'the stack has CellTargets',
    ],
    [
      'a binding to no service',
      ({ get }) => {
        get('TargetGroupBinding', 'cell').spec.serviceRef.name = 'x';
      },
      'no service x',
    ],
    [
      'a word that the schema lets pass',
      ({ get }) => {
        get('Service', 'cell').spec.ports[0].protocol = 'TPC';
      },
      'protocol TPC',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    const all = copy('cell-1');
    mistake(all);
    expect(findings(all.all, expected.get('cell-1')!).join('\n')).toContain(words);
  });
});

it.each([
  ['has no end', (job: Parsed) => delete job.spec.activeDeadlineSeconds, 'may go on without end'],
  [
    'is taken for a control plane',
    (job: Parsed) => {
      job.spec.template.metadata.labels['app.kubernetes.io/name'] = 'control-plane';
    },
    'is taken for a process of control-plane',
  ],
  ['is another command', (job: Parsed) => pod(job).containers[0].args.push('boot'), 'takes no boot'],
])('a job that %s is found', (_, mistake, words) => {
  const all = copy('control-plane');
  mistake(all.get('Job', 'bootstrap'));
  expect(findings(all.all, expected.get('control-plane')!).join('\n')).toContain(words);
});

describe.each(['cells', 'routers'])('the job that asks for a version of %s', (of) => {
  const { get } = copy('control-plane');
  const job = get('Job', `deploy-${of}`);

  it.each([
    [
      'is of another program',
      (made: Parsed) => (pod(made).containers[0].image = settings.images['control-plane']),
      'is not ctl',
    ],
    ['says what ctl does not know', (made: Parsed) => pod(made).containers[0].args.push('--twice'), 'takes no --twice'],
    ['says nothing of a flag', (made: Parsed) => pod(made).containers[0].args.push('--wait'), 'takes no --wait'],
    ['is let out by no policy', (made: Parsed) => (made.metadata.namespace = 'other'), 'has not one policy'],
  ])('is found where it %s', (_, mistake, words) => {
    const all = copy('control-plane');
    mistake(all.get('Job', `deploy-${of}`));
    expect(findings(all.all, expected.get('control-plane')!).join('\n')).toContain(words);
  });

  it('asks for the version of settings.json, once, and its verdict is its last word', () => {
    const { args, image } = pod(job).containers[0];
    expect(args).toEqual(
      expect.arrayContaining(['deploy', 'start', `--of=${of}`, '--version=1.0.0', '--once', '--yes']),
    );
    expect(image).toBe(settings.images.ctl);
    const [{ action, onExitCodes }] = job.spec.podFailurePolicy.rules;
    expect([action, onExitCodes]).toEqual([
      'FailJob',
      { containerName: 'deploy', operator: 'In', values: [1, 2, 3, 4, 5, 6] },
    ]);
    const wait = Number(/--wait=(\d+)/.exec(args.join(' '))![1]);
    expect(job.spec.activeDeadlineSeconds).toBeGreaterThan(wait);
    const script = readFileSync(new URL('../scripts/deploy', import.meta.url), 'utf8');
    const minutes = Number(/job_minutes_max=(\d+)/.exec(script)![1]);
    expect(minutes * 60).toBeGreaterThan(job.spec.activeDeadlineSeconds);
  });

  it('reaches the control plane under the name of its certificate, and sees no key of it', () => {
    const [{ ip, hostnames }] = pod(job).hostAliases;
    expect(get('Service', 'control-plane').spec.clusterIP).toBe(ip);
    expect(pod(job).containers[0].args).toContain(`--server=https://${hostnames[0]}:8083`);
    expect(pod(job).volumes.map(({ secret }: Parsed) => secret.items)).toEqual([[{ key: 'ca.crt', path: 'ca.crt' }]]);
    const from = get('NetworkPolicy', 'allow-control-plane').spec.ingress.flatMap((rule: Parsed) => rule.from);
    expect(from).toContainEqual({ podSelector: { matchLabels: { 'app.kubernetes.io/name': 'deploy' } } });
  });
});

it('the control plane knows an image for each version, and the cluster of each cell and of the routers', () => {
  const { data, binaryData } = copy('control-plane').get('ConfigMap', 'clusters');
  const { images, clusters, routers } = JSON.parse(data['clusters.json']);
  expect(images).toEqual({ '1.0.0': settings.versions['1.0.0'] });
  expect(Object.keys(clusters)).toEqual(['cell-1', 'cell-2', 'cell-3']);
  expect(clusters['cell-2']).toEqual({
    server: '${wallet-cell-2.endpoint}',
    certificateAuthority: '/etc/wallet/clusters/cell-2.pem',
    namespace: 'wallet',
    credentials: {
      eks: {
        name: 'wallet-cell-2',
        region: 'eu-west-1',
        role: 'arn:aws:iam::300000000002:role/wallet-cell-2-versions',
      },
    },
  });
  expect(binaryData['cell-2.pem']).toBe('${wallet-cell-2.authority}');
  expect(routers.images).toEqual({ '1.0.0': settings.routerVersions['1.0.0'] });
  expect(routers.cluster.server).toBe('${wallet-router.endpoint}');
  expect(routers.cluster.credentials.eks.role).toBe('arn:aws:iam::100000000000:role/wallet-router-versions');
  expect(binaryData['router.pem']).toBe('${wallet-router.authority}');
});

it('the control plane knows the routers of each zone by the name of their deployment, and may reach them', () => {
  const { all, get } = copy('control-plane');
  const args = all.flatMap((one) => one.spec?.template?.spec?.containers?.[0]?.args ?? []);
  const named = args.filter((arg) => arg.startsWith('--routers=')).map((arg) => arg.slice(10).split(','));
  const { all: ofRouters, get: getRouters } = copy('router');
  const made = ofRouters.filter((one) => one.kind === 'Deployment' && one.metadata.name.startsWith('router-'));
  const expectedOf = [...new Set(made.map((one) => [one.metadata.name, one.metadata.labels.zone] as const))];
  const wanted = [...new Map(expectedOf)].map(
    ([name, zone]) => `${name}@${zone}=https://${zone}.router.wallet.internal:8082`,
  );
  expect(wanted).toHaveLength(3);
  expect(named).toEqual([wanted, wanted, wanted]);
  const network = { ipBlock: { cidr: '10.0.0.0/16' } };
  const ports = [{ port: 8082, protocol: 'TCP' }];
  expect(get('NetworkPolicy', 'allow-control-plane').spec.egress).toContainEqual({ to: [network], ports });
  expect(getRouters('NetworkPolicy', 'allow-router').spec.ingress).toContainEqual({ from: [network], ports });
});

it.each(['cell-1', 'router'])('nothing that is applied names the image that %s runs', (stack) => {
  const component = stack === 'router' ? 'router' : 'cell';
  const ours = copy(stack).all.filter(
    (one) => one.kind === 'Deployment' && one.metadata.name.startsWith(`${component}-`),
  );
  const first = ours.filter((one) => one.spec.replicas === 0);
  expect([first.length, ours.length]).toEqual([3, 6]);
  for (const one of ours) {
    const { image } = pod(one).containers[0];
    if (first.includes(one)) expect(image).toContain(`/${component}@sha256:`);
    else expect(image).toBeUndefined();
  }
});

it.each([
  ['no image', { version: '2.0.0' }, 'version is 2.0.0, and versions has no digest of its image'],
  ['no name', { versions: { '.': 'sha256:' } }, 'versions["."]'],
  ['routers without an image', { routerVersion: '2.0.0' }, 'routerVersion is 2.0.0, and routerVersions has no digest'],
])('a version of %s is refused', (_, changed, words) => {
  expect(() => loadedWith(changed)).toThrow(words);
});

it('flags are read off the sources', () => {
  const { flags, variables, subcommands } = binary('cell');
  expect([...flags]).toEqual(expect.arrayContaining(['id', 'table-prefix', 'mesh-ca', 'checkpoint-key', 'max-tps']));
  expect([...variables]).toContain('CELL_TABLE_PREFIX');
  expect([...subcommands]).toEqual(['serve', 'tables', 'ledger']);
  expect([...binary('control-plane').subcommands]).toContain('bootstrap');
  expect(flags.has('cell')).toBe(false);
});

it.each([
  ['an image that is not built', '--bin router ', '', 'router is not built'],
  [
    'another binary',
    'ENTRYPOINT ["/usr/local/bin/cell"]',
    'ENTRYPOINT ["/usr/local/bin/ctl"]',
    'cell does not start cell',
  ],
  ['root', 'USER 65532:65532', '', 'does not run as 65532'],
  [
    'a base that cannot be pinned',
    'FROM ${RUNTIME} AS packages',
    'FROM debian AS packages',
    'debian cannot be given by digest',
  ],
  ['a shell', 'FROM scratch AS runtime', 'FROM ${RUNTIME} AS runtime', 'has more than its processes need'],
  ['probes without curl', ' curl', '', 'has no curl'],
])('the containers: %s', (_, is, becomes, words) => {
  const source = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  const [text, ignored] = [source('containers/Containerfile'), source('.containerignore')];
  expect(containerFindings(text, ignored, ['cell'])).toEqual([]);
  expect(containerFindings(text.replaceAll(is, becomes), ignored, ['cell']).join('\n')).toContain(words);
  expect(containerFindings(text, ignored, ['cell', 'wallet'])).toEqual([expect.stringContaining('wallet is left out')]);
});

describe.each([
  ['in one Region', exampleText, settings],
  ['in two', twoRegionsText, two],
  ['in two, with split roles', split.text, split],
])('what the two halves agree on %s', (_, cellsText, settings) => {
  const stacks = synthesized(cellsText);
  const expected = expectations(settings.config);

  it('the clusters are of the version that the manifests are validated against', () => {
    const script = readFileSync(new URL('../../scripts/check-kubernetes', import.meta.url), 'utf8');
    const version = /^kubernetes=(.*)$/m.exec(script)?.[1];
    // Nothing runs where the archive is, and where images are copied to.
    for (const [name, stack] of [...stacks].filter(([name]) => !/wallet-(archive|copies)/.test(name))) {
      const clusters = resources(stack, 'AWS::EKS::Cluster').map(({ Properties }) => Properties['Version']);
      expect(clusters, name).toEqual([version]);
    }
  });

  it('every target group of a stack has an output, by which its binding finds it', () => {
    for (const [stack, { outputs }] of expected) {
      const { template } = stacks.get(`wallet-${stack}`)!;
      const made = Object.keys(template.findOutputs('*')).filter(
        (name) => name.endsWith('Targets') || name.startsWith('PublicTargets'),
      );
      expect(made.sort()).toEqual([...outputs].sort());
      expect(resources(stacks.get(`wallet-${stack}`)!, 'AWS::ElasticLoadBalancingV2::TargetGroup')).toHaveLength(
        outputs.length,
      );
    }
  });

  it('every alert is raised in a cluster, but those that are about two of them', () => {
    const named = (files: Parsed[]) =>
      files.flatMap((one) => [...(one as string).matchAll(/alert: (\w+)/g)].map(([, name]) => name!));
    const given = readFileSync(new URL('../../ops/prometheus/alerts.yml', import.meta.url), 'utf8');
    const atHome = [...expected.keys()].filter((stack) => !stack.endsWith('-eu-central-1'));
    const raised = atHome.map((stack) => copy(stack, settings).get('ConfigMap', 'monitoring').data['alerts.yml']);
    expect(named([given]).filter((name) => !named(raised).includes(name))).toEqual([
      'TargetVanished',
      'PlacementBehind',
    ]);
    // Silence of what is elsewhere is no alert here.
    expect(named(raised.slice(2)).filter((name) => /Routers|Requests|ControlPlane/.test(name))).toEqual([]);
  });

  it('a process outlives the delay with which every target group lets go of it', () => {
    const { get } = copy('cell-2', settings);
    const stops = pod(cell(get)).containers[0].lifecycle.preStop.sleep.seconds;
    for (const stack of expected.keys()) {
      for (const { Properties } of resources(
        stacks.get(`wallet-${stack}`)!,
        'AWS::ElasticLoadBalancingV2::TargetGroup',
      )) {
        const attributes = Properties['TargetGroupAttributes'] as { Key: string; Value: string }[];
        const delay = attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value;
        expect(Number(delay), stack).toBeLessThan(stops);
      }
    }
  });

  it('service accounts have the roles that the stacks associate', () => {
    for (const stack of expected.keys()) {
      const associated = resources(stacks.get(`wallet-${stack}`)!, 'AWS::EKS::PodIdentityAssociation').map(
        ({ Properties }) => Properties,
      );
      const accounts = copy(stack, settings)
        .all.filter((one) => one.kind === 'ServiceAccount')
        .map((one) => one.metadata);
      for (const { Namespace, ServiceAccount } of associated) {
        expect(accounts.map(({ name, namespace }) => `${namespace}/${name}`)).toContain(
          `${Namespace}/${ServiceAccount}`,
        );
      }
      expect(associated).toHaveLength(stack.startsWith('router') ? 3 : 4);
    }
  });

  it('the collector takes spans where the processes send them, and exports them to X-Ray', () => {
    for (const stack of expected.keys()) {
      const { receivers, exporters, service } = parseAllDocuments(
        copy(stack, settings).get('ConfigMap', 'collector').data['config.yaml'],
      )[0]!.toJS();
      const args = copy(stack, settings).all.flatMap((one) => one.spec?.template?.spec?.containers?.[0]?.args ?? []);
      const processes = 3 * expected.get(stack)!.roles.length;
      expect(receivers.otlp.protocols.http.endpoint).toBe('0.0.0.0:4318');
      expect(args.filter((arg) => arg === '--otlp-endpoint=http://collector:4318')).toHaveLength(processes);
      expect(args.filter((arg) => arg === `--trace-ratio=${settings.traceRatio}`)).toHaveLength(processes);
      const { region } = expected.get(stack)!;
      expect(exporters.awsxray).toEqual({ region });
      expect(service.pipelines.traces.exporters).toEqual(['awsxray']);
      const { Properties } = resources(stacks.get(`wallet-${stack}`)!, 'AWS::EC2::VPCEndpoint').find(
        (one) => one.Properties['ServiceName'] === `com.amazonaws.${region}.xray`,
      )!;
      expect(Properties['PolicyDocument'].Statement).toEqual([
        {
          Effect: 'Allow',
          Principal: { AWS: '*' },
          Action: 'xray:PutTraceSegments',
          Resource: '*',
          Condition: {
            ArnEquals: { 'aws:PrincipalArn': { 'Fn::GetAtt': [expect.stringMatching(/collectorrole/), 'Arn'] } },
          },
        },
      ]);
    }
  });

  it('the collector carries exactly the metrics that alarms are about', () => {
    for (const stack of expected.keys()) {
      const map = copy(stack, settings).get('ConfigMap', 'collector').data['config.yaml'] as string;
      const carried = [...map.matchAll(/\^(\w+)\$/g)].map(([, name]) => name!).sort();
      const alarmed = resources(stacks.get(`wallet-${stack}`)!, 'AWS::CloudWatch::Alarm')
        .filter(({ Properties }) => Properties['Namespace'] === 'Wallet')
        .map(({ Properties }) => Properties['MetricName'] as string)
        .sort();
      expect(carried, stack).toEqual(alarmed);
    }
  });
});

function set(deployment: Parsed, start: string, value: string): void {
  const args: string[] = pod(deployment).containers[0].args;
  args[args.findIndex((arg) => arg.startsWith(start))] = start + value;
}

it('a cell grows by the cores of its one process in each zone, up to what a node has', () => {
  const cellOf = (max_tps: number) => {
    const { config } = settings;
    const cells = config.cells.map((one) => ({ ...one, max_tps }));
    return writtenOf({ ...settings, config: { ...config, cells } }).get('cell-1/cell.yaml')!;
  };
  for (const [max_tps, cpu, share] of [
    [0, '1', 0],
    [5_000, '1', 2_500],
    [10_000, '2', 5_000],
    [80_000, '16', 40_000],
  ] as const) {
    const text = cellOf(max_tps);
    expect(text.match(/cpu: "(\d+)"/)![1], `${max_tps}`).toBe(cpu);
    expect(text).toContain(`--max-tps=${share}`);
    expect(text.match(/replicas: 1$/gm)).toHaveLength(3);
  }
  expect(() => cellOf(80_001)).toThrow(
    'cell-1: with max_tps = 80001, its process in a zone takes 17 cores, of at most 16',
  );
});

it('Grafana shows every dashboard of ops/grafana, from the Prometheus of its own pod', () => {
  for (const stack of ['cell-1', 'router', 'control-plane']) {
    const all = parseAllDocuments(writtenOf(settings).get(`${stack}/monitoring.yaml`)!).map((one) => one.toJS());
    const data = (name: string) =>
      all.find((one) => one.kind === 'ConfigMap' && one.metadata.name === name).data as Record<string, string>;
    const ops = new URL('../../ops/grafana/dashboards/', import.meta.url);
    expect(Object.keys(data('dashboards'))).toEqual(readdirSync(ops).sort());
    const [source] = parseAllDocuments(data('grafana')['datasources.yml']!)[0]!.toJS().datasources;
    for (const [name, text] of Object.entries(data('dashboards'))) {
      const uids = [...text.matchAll(/"datasource":\s*{[^}]*"uid":\s*"([^"]+)"/g)].map(([, uid]) => uid);
      expect(new Set(uids), name).toEqual(new Set([source.uid]));
    }
    const { containers } = all.find((one) => one.kind === 'Deployment' && one.metadata.name === 'monitoring').spec
      .template.spec;
    const env = Object.fromEntries(
      containers.find((one: Parsed) => one.name === 'grafana').env.map((one: Parsed) => [one.name, one.value]),
    );
    expect(source.url).toBe('$WALLET_PROMETHEUS_URL');
    expect(env.WALLET_PROMETHEUS_URL).toBe('http://127.0.0.1:9090');
  }
});
