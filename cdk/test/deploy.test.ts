import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Sandbox } from './scripts.ts';

/** There is no cluster: `kubectl` notes what it is given, and a job goes through what the test says. */
describe('scripts/deploy', () => {
  const sandbox = new Sandbox();
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  const folder = fileURLToPath(new URL('../../kubernetes/example/control-plane', import.meta.url));
  sandbox.program('aws', `[ "$1" = sts ] && echo id secret token || [ "$AWS_SESSION_TOKEN" = token ]`);
  sandbox.program(
    'kubectl',
    `echo "$*" | sed 's| /[^ ]*/| |' >> $kept/calls
    next() {
        answers=($(cat $kept/$1)); echo "\${answers[*]:1}" > $kept/$1; echo "\${answers[0]}"
        ((\${#answers[@]} > 1)) || echo "\${answers[0]}" > $kept/$1
    }
    case "$*" in
        apply*) cat "\${!#}" > $kept/applied ;;
        *'get job'*) next states ;;
        *logs*) [ "$(next logs)" = ok ] && echo 'WAVE 1 of cell-1' || { echo waiting to start >&2; exit 1; } ;;
        *'get pods'*) printf "$CODES" ;;
    esac`,
  );
  const deploy = (states: string, codes = '', logs = 'ok') => {
    for (const file of ['applied', 'calls']) sandbox.keep(file, '');
    sandbox.keep('states', states);
    sandbox.keep('logs', logs);
    const env = { CLUSTER: 'c', ROLE: 'r', JOB_PERIOD: '0.05', CODES: codes };
    const { status, said } = sandbox.run('deploy', [folder, 'routers'], env);
    return { status, said, applied: sandbox.kept('applied'), calls: sandbox.kept('calls').trim().split('\n') };
  };

  it('makes the job again, shows what it says, and waits for its end', () => {
    const { status, said, applied, calls } = deploy('none none Complete');
    expect(status).toBe(0);
    expect(calls.slice(0, 4)).toEqual([
      '--namespace wallet delete job deploy-routers --ignore-not-found',
      'apply --server-side --force-conflicts -f routers.yaml',
      expect.stringContaining('get job deploy-routers'),
      '--namespace wallet logs job/deploy-routers --follow --tail -1',
    ]);
    expect(applied).toContain('--of=routers');
    expect(applied).toContain('--version=1.0.0');
    expect(said).toContain('WAVE 1 of cell-1');
  });

  it('asks for the log until there is one, and shows no line of it twice', () => {
    const { status, said, calls } = deploy('none none none Complete', '', 'no ok');
    expect([status, said.match(/WAVE/g)?.length]).toEqual([0, 2]);
    const lines = calls.flatMap((call) => /--tail (.*)/.exec(call)?.[1] ?? []);
    expect(lines).toEqual(['-1', '-1', '0']);
  });

  it.each([
    ['was taken back', '1\\n', 1, 'the version is not deployed'],
    ['waits for an operator', '5\\n', 5, 'the deploy is not over'],
    ['is refused', '4\\n', 4, 'the version is not deployed'],
    ['is the last of several pods', '137\\n5\\n', 5, 'the deploy is not over'],
    ['was never said', '\\n', 1, 'the job deploy-routers has failed, and has said nothing'],
  ])('fails as ctl does where its verdict %s', (_, codes, status, words) => {
    const ended = deploy('none FailureTarget Failed', codes);
    expect([ended.status, ended.said]).toEqual([status, expect.stringContaining(words)]);
  });
});
