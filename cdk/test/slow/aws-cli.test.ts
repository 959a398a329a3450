import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../lib/settings.ts';
import { Sandbox } from '../scripts.ts';

const fetched = (...command: string[]) =>
  spawnSync(join(ROOT, 'scripts/fetch', command[0]!), command.slice(1), { encoding: 'utf8' });
const cli = fetched('aws-cli');
const isThere = cli.status === 0 && fetched('aws-emulator', '--fetch').status === 0;
if (!isThere) console.warn(`SKIPPED: the scripts with Amazon's own command line: ${cli.stderr}`);

const HERE = '200000000000';
const CELL = '300000000001';
const role = (account: string, name: string) => `arn:aws:iam::${account}:role/${name}`;
const DEPLOY = role(CELL, 'wallet-cell-1-deploy');

/**
 * Amazon's command line, and an emulator of AWS with accounts apart: what is in one is not found
 * from the other.
 */
describe.skipIf(!isThere)("the scripts with Amazon's command line", () => {
  const sandbox = new Sandbox();
  let emulator: ChildProcess;
  let env: Record<string, string>;
  const aws = (args: string[], as = env): string => {
    const { status, stdout, stderr } = spawnSync('aws', args, { encoding: 'utf8', env: as });
    if (status !== 0) throw new Error(`aws ${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const become = (arn: string) => {
    const query = ['--query', 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]', '--output', 'text'];
    const [id, secret, token] = aws([
      'sts',
      'assume-role',
      '--role-arn',
      arn,
      '--role-session-name',
      'test',
      ...query,
    ]).split(/\s/);
    return { ...env, AWS_ACCESS_KEY_ID: id!, AWS_SECRET_ACCESS_KEY: secret!, AWS_SESSION_TOKEN: token! };
  };

  beforeAll(async () => {
    const port = await freePort();
    emulator = spawn(join(ROOT, 'scripts/fetch/aws-emulator'), [String(port)], { stdio: 'ignore' });
    env = {
      PATH: `${sandbox.folder}:${cli.stdout.trim()}:${process.env['PATH']}`,
      HOME: sandbox.folder,
      AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
      AWS_REGION: 'eu-west-1',
      AWS_DEFAULT_REGION: 'eu-west-1',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_ACCESS_KEY_ID: 'any',
      AWS_SECRET_ACCESS_KEY: 'any',
    };
    const answers = () =>
      fetch(env['AWS_ENDPOINT_URL']!).then(
        () => true,
        () => false,
      );
    for (let tries = 0; !(await answers()); tries += 1) {
      if (tries === 300) throw new Error('the emulator does not answer');
      await new Promise((done) => setTimeout(done, 100));
    }
    env = become(role(HERE, 'wallet-pipeline-step'));
    const there = become(DEPLOY);
    aws(['iam', 'create-role', '--role-name', 'eks', '--assume-role-policy-document', '{}'], there);
    const subnets = ['--resources-vpc-config', 'subnetIds=subnet-1,subnet-2'];
    aws(['eks', 'create-cluster', '--name', 'wallet-cell-1', '--role-arn', role(CELL, 'eks'), ...subnets], there);
    const alarm = ['--namespace', 'N', '--metric-name', 'M', '--period', '60', '--statistic', 'Sum'];
    const limit = ['--evaluation-periods', '1', '--threshold', '1', '--comparison-operator', 'GreaterThanThreshold'];
    aws(['cloudwatch', 'put-metric-alarm', '--alarm-name', 'cell-1-a', ...alarm, ...limit], there);
  });
  afterAll(() => {
    emulator?.kill();
    rmSync(sandbox.folder, { recursive: true });
  });

  it("apply finds the cluster of another account, and kubectl's tokens are of the role there", async () => {
    // As kubectl does for each connection: it runs what the configuration names, and shows the
    // token that this prints.
    sandbox.program(
      'kubectl',
      `[ -f $kept/token ] || {
        args=($(sed -n '/args:/,/command:/s/^ *- //p' "$KUBECONFIG"))
        aws "\${args[@]}" > $kept/token
      }
      exit 1`,
    );
    const { said } = sandbox.run('apply', [join(ROOT, 'kubernetes/example/cell-1')], {
      ...env,
      CLUSTER: 'wallet-cell-1',
      ROLE: DEPLOY,
      TARGETS: 'CellTargets',
      CellTargets: 'arn:aws:elasticloadbalancing:eu-west-1:300000000001:targetgroup/a/0123',
    });
    expect(said).toContain('cluster/wallet-cell-1 to ');
    const { status } = JSON.parse(sandbox.kept('token')) as { status: { token: string } };
    const url = Buffer.from(status.token.replace('k8s-aws-v1.', ''), 'base64url').toString();
    // A cluster sends it to STS to learn the caller's name. The emulator looks for the key in the
    // header alone.
    const key = /X-Amz-Credential=(\w+)/.exec(url)?.[1];
    const authorization = `AWS4-HMAC-SHA256 Credential=${key}/20260101/eu-west-1/sts/aws4_request`;
    const body = 'Action=GetCallerIdentity&Version=2011-06-15';
    const form = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
    const caller = await (await fetch(env['AWS_ENDPOINT_URL']!, { method: 'POST', headers: form, body })).text();
    expect(caller).toContain(`arn:aws:sts::${CELL}:assumed-role/wallet-cell-1-deploy/`);
  });

  it("apply asks each cell's account where its cluster is, for the control plane", () => {
    const folder = join(sandbox.folder, 'control-plane');
    cpSync(join(ROOT, 'kubernetes/example/control-plane'), folder, { recursive: true });
    const only = 'wallet-cell-1';
    writeFileSync(join(folder, 'clusters'), `${only} ${DEPLOY}\n`);
    const map = readFileSync(join(folder, '1-clusters.yaml'), 'utf8');
    writeFileSync(join(folder, '1-clusters.yaml'), map.replace(/\$\{wallet-cell-[23]\.\w+\}/g, 'left out'));
    sandbox.program('kubectl', 'cp "$(dirname "${!#}")/1-clusters.yaml" $kept/filled; exit 1');
    const { said } = sandbox.run('apply', [folder], {
      ...env,
      CLUSTER: only,
      ROLE: DEPLOY,
      TARGETS: 'ControlPlaneTargets',
      ControlPlaneTargets: 'arn:aws:elasticloadbalancing:eu-west-1:200000000000:targetgroup/a/0123',
    });
    expect(said).not.toContain('no such value');
    const at = aws(['eks', 'describe-cluster', '--name', only, '--query', 'cluster'], become(DEPLOY));
    const { endpoint, certificateAuthority } = JSON.parse(at) as Record<string, any>;
    expect(sandbox.kept('filled')).toContain(`"server": "${endpoint}"`);
    expect(sandbox.kept('filled')).toContain(`cell-1.pem: ${certificateAuthority.data}\n`);
  });

  it.each([
    ['OK', 0, 'none rings'],
    ['INSUFFICIENT_DATA', 1, 'cell-1-a has no data'],
  ])('bake sees an alarm of another account: %s', (state, code, words) => {
    const set = ['--alarm-name', 'cell-1-a', '--state-value', state, '--state-reason', 'test'];
    aws(['cloudwatch', 'set-alarm-state', ...set], become(DEPLOY));
    const times = { SETTLE_SECONDS: '0', BAKE_SECONDS: '0' };
    const { status, said } = sandbox.run('bake', [], { ...env, ...times, ALARMS: `${DEPLOY}=cell-1-` });
    expect([status, said]).toEqual([code, expect.stringContaining(words)]);
  });

  it('clear-failed-create removes a protected table, but none with an item', () => {
    // The emulator has no stacks: what is said of one is made up, and all else is real.
    sandbox.program(
      'aws',
      `[ "$1" = cloudformation ] || exec ${cli.stdout.trim()}/aws "$@"
      case "$2" in
        describe-stacks) echo ROLLBACK_COMPLETE ;;
        list-stack-resources) printf 'AWS::DynamoDB::GlobalTable\\tcell-1-ledger\\n' ;;
      esac`,
    );
    const there = become(DEPLOY);
    const named = ['--table-name', 'cell-1-ledger'];
    const shape = ['--attribute-definitions', 'AttributeName=id,AttributeType=S', '--billing-mode', 'PAY_PER_REQUEST'];
    const key = ['--key-schema', 'AttributeName=id,KeyType=HASH', '--deletion-protection-enabled'];
    const item = JSON.stringify({ id: { S: 'a' } });
    aws(['dynamodb', 'create-table', ...named, ...shape, ...key], there);
    aws(['dynamodb', 'put-item', ...named, '--item', item], there);
    const clear = () => sandbox.run('clear-failed-create', ['wallet-cell-1'], there);
    expect(clear()).toMatchObject({ status: 1, said: expect.stringContaining('has items: nothing is removed') });
    aws(['dynamodb', 'delete-item', ...named, '--key', item], there);
    expect(clear()).toMatchObject({
      status: 0,
      said: expect.stringContaining('removed the empty table cell-1-ledger'),
    });
    expect(aws(['dynamodb', 'list-tables', '--query', 'length(TableNames)'], there)).toBe('0');
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
