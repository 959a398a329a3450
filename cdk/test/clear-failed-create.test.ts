import { rmSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Sandbox } from './scripts.ts';

/** `aws` has one stack with a table and a load balancer left in it, and notes what is changed. */
describe('scripts/clear-failed-create', () => {
  const sandbox = new Sandbox();
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  sandbox.program(
    'aws',
    `case "$*" in
        *describe-stacks*) echo "$STATE" ;;
        *list-stack-resources*)
            printf 'AWS::DynamoDB::GlobalTable\\tcell-1-ledger\\nAWS::KMS::Key\\tk\\n'
            printf 'AWS::ElasticLoadBalancingV2::LoadBalancer\\tarn:b\\n'
            ;;
        *scan*) echo "$ITEMS" ;;
        *' wait '*) ;;
        *) echo "$*" >> $kept/changes ;;
    esac`,
  );
  const clear = (env: Record<string, string>) => {
    sandbox.keep('changes', '');
    const { status, said } = sandbox.run('clear-failed-create', ['wallet-cell-1'], env);
    const changes = sandbox.kept('changes').trim().split('\n');
    return { status, said, changes: changes.map((line) => line.split(' ').slice(1, 2).join()) };
  };

  it.each(['ROLLBACK_COMPLETE', 'ROLLBACK_FAILED'])('removes what is left of a stack in %s', (STATE) => {
    const { status, said, changes } = clear({ STATE, ITEMS: '0' });
    expect([status, said]).toEqual([0, expect.stringContaining('removed wallet-cell-1: deploy it again')]);
    expect(changes).toEqual([
      'update-table',
      'delete-table',
      'modify-load-balancer-attributes',
      'update-termination-protection',
      'delete-stack',
    ]);
  });

  it.each([
    ['a stack that was created', { STATE: 'UPDATE_ROLLBACK_COMPLETE', ITEMS: '0' }, 'is UPDATE_ROLLBACK_COMPLETE'],
    ['a stack with an item in a table', { STATE: 'ROLLBACK_COMPLETE', ITEMS: '1' }, 'cell-1-ledger has items'],
  ])('changes nothing of %s', (_, env, words) => {
    const { status, said, changes } = clear(env);
    expect([status, said, changes]).toEqual([1, expect.stringContaining(words), ['']]);
  });
});
