import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXAMPLE, ROOT } from '../../lib/settings.ts';

const CELL = '300000000001';
const answer = (action: string, result: string) =>
  `<${action}Response><${action}Result>${result}</${action}Result></${action}Response>`;
const refusal = (code: string, message: string) =>
  `<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`;

/**
 * The real CDK, before a stand-in for AWS that has no stacks, and refuses to make one once it has
 * seen what is asked for.
 */
describe('scripts/bootstrap', () => {
  const asked: URLSearchParams[] = [];
  let server: Server;
  beforeAll(async () => {
    server = createServer(async (request, response) => {
      let text = '';
      for await (const chunk of request) text += String(chunk);
      const form = new URLSearchParams(text);
      asked.push(form);
      const action = form.get('Action');
      const identity = `<Account>${CELL}</Account><Arn>arn:aws:iam::${CELL}:user/test</Arn><UserId>U</UserId>`;
      const [status, body] =
        action === 'GetCallerIdentity'
          ? [200, answer(action, identity)]
          : action === 'DescribeStacks'
            ? [400, refusal('ValidationError', 'Stack with id CDKToolkit does not exist')]
            : [403, refusal('AccessDenied', 'no further')];
      response.writeHead(status as number, { 'content-type': 'text/xml' }).end(body);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => server.close());

  const run = async (command: string, args: string[]) => {
    asked.length = 0;
    const env = {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      DEPLOYMENT: EXAMPLE,
      AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      AWS_ACCESS_KEY_ID: 'any',
      AWS_SECRET_ACCESS_KEY: 'any',
      AWS_EC2_METADATA_DISABLED: 'true',
      CDK_DISABLE_CLI_TELEMETRY: 'true',
      CDK_DISABLE_VERSION_CHECK: '1',
    };
    const child = spawn(command, args, { cwd: join(ROOT, 'cdk'), env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
    await once(child, 'close');
    return said;
  };

  it('prints the command for each account and Region, the own account of the pipeline without trust', async () => {
    const lines = (await run('scripts/bootstrap', [])).trim().split('\n');
    expect(lines.map((line) => / aws:\/\/(\S+)/.exec(line)?.[1])).toEqual(
      ['200000000000', '100000000000', '400000000000', CELL, '300000000002', '300000000003'].map(
        (account) => `${account}/eu-west-1`,
      ),
    );
    expect(lines.map((line) => line.includes('--trust 200000000000'))).toEqual([false, true, true, true, true, true]);
  });

  it('has the CDK ask for a stack that trusts the account of the pipeline', async () => {
    const said = await run('scripts/bootstrap', [CELL]);
    const made = asked.find((form) => form.get('Action') === 'CreateChangeSet');
    expect(made, said).toBeDefined();
    const names = [...made!.keys()].filter((key) => key.endsWith('.ParameterKey'));
    const given = names.map((key) => [made!.get(key), made!.get(key.replace('ParameterKey', 'ParameterValue'))]);
    expect(Object.fromEntries(given)).toMatchObject({
      TrustedAccounts: '200000000000',
      CloudFormationExecutionPolicies: 'arn:aws:iam::aws:policy/AdministratorAccess',
    });
  });

  it('cannot leave the policy out: the CDK refuses trust without one', async () => {
    const said = await run('npx', ['cdk', 'bootstrap', `aws://${CELL}/eu-west-1`, '--trust', '200000000000']);
    expect(said).toContain("Please pass '--cloudformation-execution-policies' when using '--trust'");
    expect(asked.some((form) => form.get('Action') === 'CreateChangeSet')).toBe(false);
  });

  it('refuses an account that the deployment does not have', async () => {
    expect(await run('scripts/bootstrap', ['999999999999'])).toContain('the deployment has no account 999999999999');
  });
});
