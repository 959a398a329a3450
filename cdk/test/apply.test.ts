import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { load } from '../../kubernetes/lib/settings.ts';
import { written as writtenOf } from '../../kubernetes/lib/stacks.ts';
import { Sandbox } from './scripts.ts';

/** There is no cluster: `kubectl` notes what it is given, and answers as the test says. */
describe('scripts/apply', () => {
  const two = load(fileURLToPath(new URL('../example-two-regions', import.meta.url)));
  const split = load(fileURLToPath(new URL('../example-split-roles', import.meta.url)));
  const [written, ofSplit] = [two, split].map((settings) => {
    const folder = mkdtempSync(join(tmpdir(), 'wallet-manifests-'));
    for (const [path, text] of writtenOf(settings)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    afterAll(() => rmSync(folder, { recursive: true }));
    return folder;
  }) as [string, string];
  const sandbox = new Sandbox();
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  const manifests = (stack: string) => fileURLToPath(new URL(`../../kubernetes/example/${stack}`, import.meta.url));
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:300000000001:targetgroup/a/0123';
  // The cluster is in another account: only the role's credentials find it.
  sandbox.program(
    'aws',
    `case "$1" in
        sts) echo "id secret token-of-$4" ;;
        eks)
            case "$2 $4 $AWS_SESSION_TOKEN" in
                'update-kubeconfig c token-of-r') [[ "$*" == *"--role-arn r" ]] ;;
                describe-cluster*) echo "$6" >> $kept/regions; [[ $AWS_SESSION_TOKEN == */$4-deploy && $4 != "$LOST" ]] &&
                    printf 'https://%s.eks\\t%s\\n' "$4" "$AUTHORITY" ;;
                *) exit 9 ;;
            esac ;;
    esac`,
  );
  sandbox.program(
    'kubectl',
    `echo "$*" | sed 's| /[^ ]*/| |' >> $kept/calls
    case "$*" in
        *'get deployment cell-eu-west-1a-accounts cell-'* | *'get deployment cell-eu-west-1a cell-'*) echo "$OTHERS" ;;
        *'get deployment cell-eu-west-1b '*) echo "$THERE" ;;
        create*) cat "\${!#}" >> $kept/created ;;
        apply*/manifests) cat "\${!#}"/*.yaml > $kept/applied ;;
        *'get secret'* | *'get configmap'*) exit $MISSING ;;
        *'get job'*) echo "$JOB" ;;
        *'exec deployment/'*) echo "$WAITS" ;;
        *'get deployments'*) echo deployment.apps/cell-a; echo deployment.apps/cell-b ;;
        *rollout*) exit $ROLLOUT ;;
    esac`,
  );
  const apply = (stack: string, env: Record<string, string> = {}, folder = manifests(stack)) => {
    for (const file of ['applied', 'calls', 'created', 'regions']) sandbox.keep(file, '');
    const all = {
      CLUSTER: 'c',
      ROLE: 'r',
      TARGETS: 'CellTargets',
      MISSING: '0',
      ROLLOUT: '0',
      JOB: 'Complete',
      LOST: '',
      THERE: '',
      OTHERS: '',
      AUTHORITY: 'QUJD',
      WAITS: '',
      ...env,
    };
    const { status, said } = sandbox.run('apply', [folder], all);
    const [applied, created] = [sandbox.kept('applied'), sandbox.kept('created')];
    return { status, said, applied, created, calls: sandbox.kept('calls').trim().split('\n') };
  };

  it('fills target groups in, applies everything, and waits for every deployment', () => {
    const { status, applied, calls } = apply('cell-1', { CellTargets: arn });
    expect(status).toBe(0);
    expect(applied).toContain(`targetGroupARN: ${arn}`);
    expect(applied).not.toContain('${');
    expect(applied).toContain('kind: NetworkPolicy');
    expect(calls.filter((call) => call.includes('rollout status'))).toHaveLength(3);
  });

  it('creates a cell with an image, and then applies all that it is but the image', () => {
    const { created, applied, calls } = apply('cell-1', { CellTargets: arn });
    expect(created.match(/image: .*\/cell@sha256:/g)).toHaveLength(3);
    expect(created.match(/replicas: 0/g)).toHaveLength(3);
    expect(applied).toContain('name: cell-eu-west-1a');
    expect(applied).not.toContain('/cell@sha256:');
    const all = calls.indexOf('apply --server-side --force-conflicts -f manifests');
    expect(calls.slice(0, all).filter((call) => call.startsWith('create'))).toHaveLength(3);
  });

  it('does the same with routers, which have several target groups', () => {
    const targets = ['PublicTargetsEuWest1a', 'PublicTargetsEuWest1b', 'PublicTargetsEuWest1c'];
    const all = [...targets, 'InternalTargets', 'AdminTargets'];
    const env = { TARGETS: all.join(' '), ...Object.fromEntries(all.map((name) => [name, arn])) };
    const { status, created, applied } = apply('router', env);
    expect(status).toBe(0);
    expect(created.match(/image: .*\/router@sha256:/g)).toHaveLength(3);
    expect(applied).toContain('name: router-eu-west-1a');
    expect(applied).not.toContain('/router@sha256:');
  });

  const both = { TARGETS: 'TransactionsTargets AccountsTargets', TransactionsTargets: arn, AccountsTargets: arn };

  it('does the same with a cell of split roles, which has a deployment of each in each zone', () => {
    const { status, created, applied } = apply('cell-1', both, join(ofSplit, 'cell-1'));
    expect(status).toBe(0);
    const names = ['a', 'b', 'c'].flatMap((at) =>
      ['accounts', 'transactions'].map((role) => `cell-eu-west-1${at}-${role}`),
    );
    expect([...created.matchAll(/^ {2}name: (.*)$/gm)].map(([, name]) => name)).toEqual(names);
    for (const name of names) expect(applied).toContain(`  name: ${name}\n`);
    expect(applied).not.toContain('/cell@sha256:');
  });

  it.each([
    ['splits the roles', 'deployment.apps/cell-eu-west-1a', both, () => join(ofSplit, 'cell-1')],
    ['puts the roles together', 'deployment.apps/cell-eu-west-1a-accounts', { CellTargets: arn }, undefined],
  ])('changes nothing where it %s of a cell that serves', (_, OTHERS, targets, folder) => {
    const { status, said, created, applied } = apply('cell-1', { ...targets, OTHERS }, folder?.());
    expect(status).not.toBe(0);
    expect(said).toContain(`${OTHERS} with other roles: the roles of a cell that serves cannot be changed`);
    expect([created, applied]).toEqual(['', '']);
  });

  it('leaves the image alone that a deployment runs', () => {
    const { status, created, calls } = apply('cell-1', { CellTargets: arn, THERE: 'deployment.apps/cell-eu-west-1b' });
    expect(status).toBe(0);
    expect([...created.matchAll(/^ {2}name: (.*)$/gm)].map(([, name]) => name)).toEqual([
      'cell-eu-west-1a',
      'cell-eu-west-1c',
    ]);
    expect(calls.join()).not.toMatch(/set image|patch|replace/);
  });

  it('fails where a deployment does not come to run', () => {
    expect(apply('cell-1', { CellTargets: arn, ROLLOUT: '1' }).status).not.toBe(0);
  });

  it.each([
    ['is not given', {}],
    ['is none', { CellTargets: 'arn:aws:s3:::bucket' }],
    ['has another name', { TARGETS: 'RouterTargets', RouterTargets: arn }],
  ])('applies nothing where a target group %s', (_, targets) => {
    const { status, applied } = apply('cell-1', targets);
    expect([status, applied]).toEqual([1, '']);
  });

  it('makes the namespace, and stops where what operators put there is missing', () => {
    const { status, said, applied, calls } = apply('cell-1', { CellTargets: arn, MISSING: '1' });
    expect([status, applied]).toEqual([1, '']);
    expect(said).toContain('put these into namespace wallet of c');
    expect(calls).toEqual([
      'apply --server-side --force-conflicts -f 0-namespace.yaml',
      '--namespace wallet get secret/checkpoint secret/mesh secret/monitor --output name',
    ]);
  });

  const control = { TARGETS: 'ControlPlaneTargets', ControlPlaneTargets: arn, JOB_PERIOD: '0.05' };

  it('runs the bootstrap again before the control plane, whatever became of it before', () => {
    const { status, calls } = apply('control-plane', control);
    expect(status).toBe(0);
    expect(calls.slice(0, 6)).toEqual([
      'apply --server-side --force-conflicts -f 0-namespace.yaml',
      '--namespace wallet get configmap/tokens secret/canaries secret/mesh secret/monitor secret/pipeline --output name',
      '--namespace wallet delete job bootstrap --ignore-not-found',
      'apply --server-side --force-conflicts -f 1-bootstrap.yaml',
      expect.stringContaining('get job bootstrap'),
      'apply --server-side --force-conflicts -f manifests',
    ]);
  });

  it("gives the control plane the address of each stack's cluster, as EKS says it", () => {
    const { status, applied } = apply('control-plane', control);
    expect(status).toBe(0);
    expect(applied).not.toContain('${');
    for (const stack of ['cell-1', 'cell-2', 'cell-3', 'router']) {
      expect(applied).toContain(`"server": "https://wallet-${stack}.eks"`);
      expect(applied).toContain(`${stack}.pem: QUJD\n`);
    }
  });

  it('looks for each cluster in its own Region', () => {
    const { status } = apply('control-plane', control, join(written, 'control-plane'));
    expect(status).toBe(0);
    expect(sandbox.kept('regions').trim().split('\n')).toEqual([
      'eu-west-1',
      'eu-central-1',
      'eu-west-1',
      'eu-west-1',
      // The routers.
      'eu-west-1',
    ]);
  });

  it.each([
    ['wait get the version of settings.json', '{"version":"1","standby":true}', 3],
    ['serve keep the image that ctl deploy brought', '{"version":"1"}', 0],
    ['say nothing keep their image', '', 0],
  ])('processes that %s', (_, WAITS, count) => {
    for (const stack of ['cell-1', 'cell-1-eu-central-1']) {
      const { status, calls } = apply(stack, { CellTargets: arn, WAITS }, join(written, stack));
      expect(status).toBe(0);
      const set = calls.filter((call) => call.includes('set image'));
      expect(set).toHaveLength(count);
      const region = stack === 'cell-1' ? 'eu-west-1' : 'eu-central-1';
      const image = `200000000000.dkr.ecr.${region}.amazonaws.com/wallet/cell@sha256:0{63}1`;
      for (const call of set)
        expect(call).toMatch(new RegExp(`set image deployment/cell-${region}[abc] cell=${image}$`));
      expect(calls.filter((call) => call.includes(' exec '))).toHaveLength(3);
    }
  });

  it('nothing is asked of the processes of a cell in one Region', () => {
    expect(apply('cell-1', { CellTargets: arn }).calls.join()).not.toContain(' exec ');
  });

  it.each([
    ['is not there yet', { LOST: 'wallet-cell-2' }, 'cluster wallet-cell-2 is not found: deploy its stack'],
    ['is still being made', { AUTHORITY: 'None?' }, 'wallet-cell-1.authority has no such value: None?'],
  ])('applies no control plane where the cluster of a cell %s', (_, env, words) => {
    const { status, said, applied } = apply('control-plane', { ...control, ...env });
    expect([status, applied]).toEqual([1, '']);
    expect(said).toContain(words);
  });

  it('applies no control plane where the bootstrap has failed, and shows its log', () => {
    const { status, said, applied, calls } = apply('control-plane', { ...control, JOB: 'FailureTarget Failed' });
    expect([status, applied]).toEqual([1, '']);
    expect(said).toContain('the job bootstrap has failed');
    expect(calls.at(-1)).toContain('logs job/bootstrap');
  });
});
