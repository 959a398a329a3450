import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from '../lib/settings.ts';

const OURS = {
  repository: 'acme/wallet-of-ours',
  branch: 'production',
  connection: 'arn:aws:codeconnections:eu-west-1:200000000000:connection/11111111-2222-3333-4444-555555555555',
};

/** A checkout with a deployment of its own, as an operator's and as the pipeline's build has it. */
describe('the pipeline', () => {
  const checkout = mkdtempSync(join(tmpdir(), 'wallet-checkout-'));
  afterAll(() => rmSync(checkout, { recursive: true }));
  for (const part of ['cdk/bin', 'cdk/lib', 'cdk/cdk.json', 'cdk/package.json', 'kubernetes', 'ops'])
    cpSync(join(ROOT, part), join(checkout, part), { recursive: true });
  symlinkSync(join(ROOT, 'cdk/node_modules'), join(checkout, 'cdk/node_modules'));
  const settings = JSON.parse(readFileSync(join(ROOT, 'cdk/example/settings.json'), 'utf8')) as object;
  const folder = join(checkout, 'deployment');
  mkdirSync(folder);
  cpSync(join(ROOT, 'cdk/example/cells.toml'), join(folder, 'cells.toml'));
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ ...settings, pipeline: OURS }));

  /** In an environment that has nothing but what is given. */
  const run = (lines: string[], env: Record<string, string>) => {
    const { PATH, HOME } = process.env as Record<string, string>;
    const bare = { PATH, HOME, CDK_VALIDATION: 'false', CDK_DISABLE_CLI_TELEMETRY: 'true', ...env };
    const all = { cwd: checkout, encoding: 'utf8', env: bare as Record<string, string> } as const;
    const { status, stderr } = spawnSync('bash', ['-ec', lines.join('\n')], all);
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(readFileSync(join(checkout, 'cdk/cdk.out/pipeline.template.json'), 'utf8'));
  };
  const pipelineOf = (template: any) =>
    (Object.values(template.Resources) as any[]).find(({ Type }) => Type === 'AWS::CodePipeline::Pipeline').Properties;

  it('keeps its source, and all else, when it synthesizes itself', () => {
    const byHand = run(['cd cdk', "npx cdk synth --quiet --app 'npx tsx bin/pipeline.ts'"], {});
    const [source] = pipelineOf(byHand).Stages[0].Actions;
    expect(source.Configuration).toMatchObject({
      FullRepositoryId: OURS.repository,
      BranchName: OURS.branch,
      ConnectionArn: OURS.connection,
    });
    const { commands, env } = synthStep(byHand);
    expect(commands.some((command) => command.includes('cdk synth'))).toBe(true);
    const byItself = run(commands, env);
    expect(pipelineOf(byItself).Stages[0].Actions).toEqual(pipelineOf(byHand).Stages[0].Actions);
    expect(byItself).toEqual(byHand);
    expect(readFileSync(join(checkout, 'manifests/cell-1/cell.yaml'), 'utf8')).toContain('kind: Deployment');
  });
});

/** What the build of the pipeline runs before it changes itself. Packages are installed already. */
function synthStep(template: any): { commands: string[]; env: Record<string, string> } {
  const found = (Object.values(template.Resources) as any[])
    .filter(({ Type }) => Type === 'AWS::CodeBuild::Project')
    .map(({ Properties }) => Properties)
    .filter(({ Source }) => JSON.stringify(Source.BuildSpec).includes('bin/pipeline.ts'));
  expect(found).toHaveLength(1);
  const { Environment, Source } = found[0];
  const { phases } = JSON.parse(Source.BuildSpec);
  const variables = (Environment.EnvironmentVariables ?? []) as { Name: string; Value: string }[];
  return {
    commands: [...phases.install.commands, ...phases.build.commands].filter((command: string) => command !== 'npm ci'),
    env: Object.fromEntries(variables.map(({ Name, Value }) => [Name, Value])),
  };
}
