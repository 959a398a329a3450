import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cell, copy, first, foundAfter, loadedWith, pod, settings } from './copies.ts';
import type { Mistake, Parsed } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'the image of a cell is applied',
      ({ get }) => {
        pod(cell(get)).containers[0].image = settings.versions['1.0.0'];
      },
      'cell-eu-west-1a: says which image it runs',
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
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
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

describe.each(['cells', 'routers'])('the job that asks for a version of %s', (of) => {
  const { get } = copy('control-plane');
  const job = get('Job', `deploy-${of}`);

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
    const script = readFileSync(new URL('../../scripts/deploy', import.meta.url), 'utf8');
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

it.each([
  ['no image', { version: '2.0.0' }, 'version is 2.0.0, and versions has no digest of its image'],
  ['no name', { versions: { '.': 'sha256:' } }, 'versions["."]'],
  ['routers without an image', { routerVersion: '2.0.0' }, 'routerVersion is 2.0.0, and routerVersions has no digest'],
])('a version of %s is refused', (_, changed, words) => {
  expect(() => loadedWith(changed)).toThrow(words);
});
