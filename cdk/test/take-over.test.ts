import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { Sandbox } from './scripts.ts';

/** There is no AWS and no cluster: `aws` and `kubectl` note what they are given, and answer as the test says. */
describe('scripts/take-over', () => {
  const sandbox = new Sandbox();
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  const DENY = '--policy-arn arn:aws:iam::aws:policy/AWSDenyAll';
  sandbox.program(
    'aws',
    `[ "$1" = sts ] && { echo "id secret $4"; exit; }
    echo "\${AWS_SESSION_TOKEN##*/}: aws $*" >> $kept/calls
    case "$*" in
        *tach-role-policy*) [ "$2 $4" != "$DENIED" ] || { echo "An error occurred ($WHY)" >&2; exit 254; } ;;
        *update-kubeconfig*) [[ "$*" != *"--region $LOST"* ]] || exit 255; basename "$KUBECONFIG" > "$KUBECONFIG" ;;
    esac`,
  );
  sandbox.program(
    'kubectl',
    `echo "$(cat "$KUBECONFIG"): kubectl $*" >> $kept/calls
    case "$*" in
        *'get deployments'*) echo deployment.apps/control-plane-a ;;
    esac`,
  );
  beforeEach(() => sandbox.keep('calls', ''));
  const takeOver = (region: string, env: Record<string, string> = {}, example = 'example-two-regions') => {
    const DEPLOYMENT = fileURLToPath(new URL(`../${example}`, import.meta.url));
    const all = { DEPLOYMENT, FENCE_SECONDS: '0', LOST: 'none', DENIED: '', WHY: '', ...env };
    const { status, said } = sandbox.run('take-over', [region], all);
    return { status, said, calls: sandbox.kept('calls').trim().split('\n') };
  };
  const of = (region: string) => {
    const suffix = region === 'eu-west-1' ? '' : `-${region}`;
    const name = `wallet-control-plane${suffix}`;
    const role = `arn:aws:iam::200000000000:role/${name}-operators`;
    const labels = '--selector app.kubernetes.io/name=control-plane';
    return {
      attach: `wallet-fence: aws iam attach-role-policy --role-name ${name} ${DENY}`,
      detach: `wallet-fence: aws iam detach-role-policy --role-name ${name} ${DENY}`,
      reach: `${name}-operators: aws eks update-kubeconfig --name ${name} --region ${region} --role-arn ${role}`,
      stop: [
        `${region}: kubectl --namespace wallet scale deployment ${labels} --replicas 0 --timeout 60s`,
        `${region}: kubectl --namespace wallet wait --for delete pod ${labels} --timeout 240s`,
      ],
      start: [
        `${region}: kubectl --namespace wallet scale deployment ${labels} --replicas 1`,
        `${region}: kubectl --namespace wallet get deployments ${labels} --output name`,
        `${region}: kubectl --namespace wallet rollout status deployment.apps/control-plane-a --timeout 15m`,
      ],
    };
  };

  it.each([
    ['eu-west-1', 'eu-central-1'],
    ['eu-central-1', 'eu-west-1'],
  ])('takes the rights of %s and stops it, before %s gets its rights and is started', (from, to) => {
    const { status, said, calls } = takeOver(to);
    expect([status, said]).toEqual([0, expect.stringContaining(`the control plane works in ${to}`)]);
    expect(calls).toEqual([
      of(from).attach,
      of(from).reach,
      ...of(from).stop,
      of(to).detach,
      of(to).reach,
      ...of(to).start,
    ]);
  });

  it('goes on without a Region that cannot be reached, and says what is left to do there', () => {
    const { status, said, calls } = takeOver('eu-central-1', { LOST: 'eu-west-1' });
    const [home, second] = [of('eu-west-1'), of('eu-central-1')];
    expect(status).toBe(0);
    expect(said).toContain('eu-west-1 cannot be reached');
    expect(calls).toEqual([home.attach, home.reach, second.detach, second.reach, ...second.start]);
  });

  it('starts nothing while the other one has its rights', () => {
    const { status, calls } = takeOver('eu-central-1', { DENIED: 'attach-role-policy wallet-control-plane' });
    expect(status).not.toBe(0);
    expect(calls).toEqual([of('eu-west-1').attach]);
  });

  it.each([
    ['NoSuchEntity', 0],
    ['AccessDenied', 1],
  ])('may be run again: where rights cannot be given back for %s, it ends with %i', (WHY, code) => {
    const DENIED = 'detach-role-policy wallet-control-plane-eu-central-1';
    const { status, calls } = takeOver('eu-central-1', { DENIED, WHY });
    expect(status).toBe(code);
    expect(calls.join('\n').includes('--replicas 1')).toBe(code === 0);
  });

  it.each([
    ['a Region that has none', 'eu-north-1', 'example-two-regions'],
    ['a deployment of one Region', 'eu-west-1', 'example'],
  ])('does nothing for %s', (_, region, example) => {
    const { status, said, calls } = takeOver(region, {}, example);
    expect([status, calls]).toEqual([1, ['']]);
    expect(said).toContain(`no control plane is in ${region}, or only one`);
  });
});
