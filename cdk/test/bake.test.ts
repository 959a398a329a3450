import { rmSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Sandbox } from './scripts.ts';

/**
 * `aws` answers with the state of two alarms: for each look one word, of an alarm to which missing
 * data says nothing.
 */
describe('scripts/bake', () => {
  const sandbox = new Sandbox();
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  sandbox.program(
    'aws',
    `[ "$1" = sts ] && { echo "$4" secret token; exit; }
    [ "$AWS_SESSION_TOKEN" = token ] || exit 9
    # Of another stack, which is never seen.
    [ "$AWS_ACCESS_KEY_ID" = silent ] && exit 1
    count=$(cat $kept/count); echo $((count + 1)) > $kept/count
    answers=($(cat $kept/answers)); answer=\${answers[$count]:-\${answers[-1]}}
    case $answer in
        FAIL) exit 1 ;;
        NONE) exit ;;
        FINE) printf 'cell-1-a\\tINSUFFICIENT_DATA\\tnotBreaching\\n' ;;
        *) printf 'cell-1-a\\t%s\\tmissing\\n' $answer ;;
    esac
    printf 'cell-1-b\\tOK\\tbreaching\\n'`,
  );
  const bake = (answers: string, settle: number, seconds: number, alarms = 'arn:r=cell-1-') => {
    sandbox.keep('answers', answers);
    sandbox.keep('count', '0');
    const env = { SETTLE_SECONDS: String(settle), BAKE_SECONDS: String(seconds), BAKE_PERIOD: '0.05', ALARMS: alarms };
    return sandbox.run('bake', [], env);
  };

  it.each([
    ['passes where nothing rings', 'OK', 0, 1, 'none rings'],
    ['fails at once when one begins to ring while alarms settle', 'OK OK ALARM', 60, 0, 'cell-1-a rings now'],
    ['lets one that rang before ring until alarms have settled', 'ALARM ALARM OK', 3, 0, 'none rings'],
    ['fails when one that rang before still rings then', 'ALARM', 1, 60, 'cell-1-a rings, and has since before'],
    ['fails when one that had stopped rings again', 'ALARM OK ALARM', 60, 0, 'cell-1-a rings now'],
    ['fails when one rings once they have settled', 'OK OK ALARM', 0, 60, 'cell-1-a rings now'],
    ['fails when one has no data in the end', 'OK INSUFFICIENT_DATA', 0, 1, 'cell-1-a has no data at the end'],
    ['lets one have no data until then', 'INSUFFICIENT_DATA INSUFFICIENT_DATA OK', 0, 1, 'none rings'],
    ['passes without data where the alarm says that this is fine', 'FINE', 0, 1, 'none rings'],
    ['fails where there is no alarm', 'NONE', 0, 60, 'cell-1-*: there is no such alarm'],
    ['passes where they could not be seen for a moment', 'OK FAIL FAIL OK', 0, 1, 'none rings'],
    ['fails where they cannot be seen', 'OK FAIL', 0, 60, 'cell-1-*: the alarms could not be seen 3 times in a row'],
    ['fails at a state that it does not know', 'BROKEN', 0, 60, 'in no state that is known'],
  ])('%s', (_, answers, settle, seconds, words) => {
    const { status, said } = bake(answers, settle, seconds);
    expect([status, said]).toEqual([words === 'none rings' ? 0 : 1, expect.stringContaining(words)]);
  });

  it('is not calmed about a stack that it cannot see by one that it can', () => {
    const { status, said } = bake('OK', 0, 1, 'arn:r=cell-1- silent=cell-2-');
    expect([status, said]).toEqual([1, expect.stringContaining('cell-2-*: the alarms could not be seen')]);
  });

  it('looks until alarms have settled and then been watched, even where nothing rings', () => {
    const began = Date.now();
    expect(bake('OK', 1, 2).status).toBe(0);
    expect(Date.now() - began).toBeGreaterThanOrEqual(2_000);
  });
});
