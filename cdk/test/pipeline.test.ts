import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { afterAll, describe, expect, it } from 'vitest';
import { PipelineStack } from '../lib/pipeline-stack.ts';
import { EXAMPLE } from '../lib/settings.ts';
import { exampleText, settingsOf, twoRegionsText } from './synthesized.ts';

const source = {
  repository: 'a/b',
  branch: 'main',
  connection: 'arn:aws:codeconnections:eu-west-1:200000000000:connection/c',
};

function pipeline(text: string) {
  const stack = new PipelineStack(new App(), 'pipeline', { ...settingsOf(text), source, path: EXAMPLE });
  const template = Template.fromStack(stack);
  const [made] = Object.values(template.findResources('AWS::CodePipeline::Pipeline'));
  return { deploying: stack.deploying, properties: made!.Properties, template };
}

interface MadeStage {
  Name: string;
  OnFailure?: { Result: string };
  Actions: { Name: string; RunOrder: number }[];
}

describe('the pipeline', () => {
  const five =
    exampleText.replace(/shares = .*/, 'shares = [20, 60, 100]') +
    '\n[[cells]]\nid = "cell-4"\naccount = "300000000004"\n[[cells]]\nid = "cell-5"\naccount = "300000000005"\n';
  const { deploying, properties, template } = pipeline(five);
  const stages = properties['Stages'] as MadeStage[];

  it('goes in waves: archive, control plane, canary, growing shares, routers', () => {
    expect(properties['PipelineType']).toBe('V2');
    const deployed = stages.map(({ Name: stage, Actions }) =>
      // The one action of a stage without a step after it bears no name of its own.
      Actions.map(({ Name }) => (Name === 'Deploy' ? stage : /(.*)\.Deploy$/.exec(Name)?.[1])).filter(Boolean),
    );
    expect(deployed.slice(-6)).toEqual([
      [expect.stringContaining('archive')],
      [expect.stringContaining('control-plane')],
      [expect.stringContaining('cell-1')],
      [expect.stringContaining('cell-2'), expect.stringContaining('cell-3')],
      [expect.stringContaining('cell-4'), expect.stringContaining('cell-5')],
      [expect.stringContaining('router')],
    ]);
  });

  it('goes back by itself in every stage that deploys, and the override is of these stages', () => {
    const back = stages.filter(({ OnFailure }) => OnFailure?.Result === 'ROLLBACK').map(({ Name }) => Name);
    const deploy = stages
      .filter(({ Actions }) => Actions.some(({ Name }) => /(^|\.)Deploy$/.test(Name)))
      .map(({ Name }) => Name);
    expect(deploy).toHaveLength(6);
    expect(back).toEqual(deploy);
    expect(back).toEqual(deploying);
  });

  it('bakes at the end of each wave, once all of it runs', () => {
    for (const { Name, Actions } of stages.slice(-5)) {
      const last = Math.max(...Actions.map(({ RunOrder }) => RunOrder));
      const atLast = Actions.filter(({ RunOrder }) => RunOrder === last).map((action) => action.Name);
      expect(atLast, Name).toEqual([expect.stringMatching(/^Bake-/)]);
      const applied = Actions.filter((action) => action.Name.includes('Apply-'));
      const made = Actions.filter((action) => action.Name.endsWith('.Deploy'));
      expect(applied.length, Name).toBe(made.length);
      expect(Math.min(...applied.map(({ RunOrder }) => RunOrder))).toBeGreaterThan(
        Math.max(...made.map(({ RunOrder }) => RunOrder)),
      );
    }
  });

  it("watches for as long as cells.toml says, each cell's own alarm", () => {
    const texts = JSON.stringify(template.findResources('AWS::CodeBuild::Project'));
    const of = texts + JSON.stringify(stages);
    expect(of).toMatch(/BAKE_SECONDS[^}]*900/);
    expect(of).toContain(
      'arn:aws:iam::300000000004:role/wallet-cell-4-deploy=cell-4-unwell arn:aws:iam::300000000005:role/wallet-cell-5-deploy=cell-5-unwell',
    );
  });

  it('makes the second Regions of cells at the end', () => {
    const two = pipeline(twoRegionsText);
    expect(two.deploying.at(-1)).toContain('standbys');
    const last = (two.properties['Stages'] as MadeStage[]).at(-1)!;
    expect([last.Name, last.OnFailure]).toEqual([two.deploying.at(-1), { Result: 'ROLLBACK' }]);
  });

  it('refuses a bake that CodeBuild would cut off', () => {
    expect(() => pipeline(exampleText.replace('bake_seconds = 900', 'bake_seconds = 30000'))).toThrow(
      'bakes at most 25200',
    );
  });
});

/** Nor can a cluster: `kubectl` keeps what it is given, and `aws` does nothing. */
describe('scripts/apply', () => {
  const folder = mkdtempSync(join(tmpdir(), 'apply-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const manifests = fileURLToPath(new URL('../../kubernetes/example/cell-1', import.meta.url));
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:300000000001:targetgroup/a/0123';
  const apply = (targets: Record<string, string>, rollout: number) => {
    const kubectl = `#!/bin/bash
      case "$*" in
        apply*) cat "\${!#}"/*.yaml > ${folder}/applied ;;
        *'get deployments'*) echo deployment.apps/cell-a; echo deployment.apps/cell-b ;;
        *rollout*) echo "$*" >> ${folder}/rollouts; exit ${rollout} ;;
      esac`;
    writeFileSync(join(folder, 'kubectl'), kubectl, { mode: 0o755 });
    writeFileSync(join(folder, 'aws'), '#!/bin/bash\n', { mode: 0o755 });
    for (const kept of ['applied', 'rollouts']) writeFileSync(join(folder, kept), '');
    const { status } = spawnSync(fileURLToPath(new URL('../scripts/apply', import.meta.url)), [manifests], {
      env: { PATH: `${folder}:${process.env['PATH']}`, CLUSTER: 'c', ROLE: 'r', TARGETS: 'CellTargets', ...targets },
    });
    const read = (file: string) => readFileSync(join(folder, file), 'utf8');
    return { status, applied: read('applied'), rollouts: read('rollouts').trim().split('\n').length };
  };

  it('fills target groups in, applies everything, and waits for every deployment', () => {
    const { status, applied, rollouts } = apply({ CellTargets: arn }, 0);
    expect([status, rollouts]).toEqual([0, 2]);
    expect(applied).toContain(`targetGroupARN: ${arn}`);
    expect(applied).not.toContain('${');
    expect(applied).toContain('kind: NetworkPolicy');
  });

  it('fails where a deployment does not come to run', () => {
    expect(apply({ CellTargets: arn }, 1).status).not.toBe(0);
  });

  it.each([
    ['is not given', {}],
    ['is none', { CellTargets: 'arn:aws:s3:::bucket' }],
    ['has another name', { TARGETS: 'RouterTargets', RouterTargets: arn }],
  ])('applies nothing where a target group %s', (_, targets) => {
    const { status, applied } = apply(targets, 0);
    expect([status, applied]).toEqual([1, '']);
  });
});

/** AWS cannot be asked here: `aws` is a script that answers with a state for each look at an alarm. */
describe('scripts/bake', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bake-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const bake = (answers: string, seconds: number) => {
    writeFileSync(
      join(folder, 'aws'),
      `#!/bin/bash
      [ "$1" = sts ] && { echo id secret token; exit; }
      [ "$AWS_SESSION_TOKEN" = token ] || exit 9
      count=$(cat ${folder}/count); echo $((count + 1)) > ${folder}/count
      answers=(${answers}); answer=\${answers[$count]:-\${answers[-1]}}
      [ "$answer" = FAIL ] && exit 1
      echo "$answer"`,
    );
    chmodSync(join(folder, 'aws'), 0o755);
    writeFileSync(join(folder, 'count'), '0');
    return spawnSync(fileURLToPath(new URL('../scripts/bake', import.meta.url)), {
      encoding: 'utf8',
      env: {
        PATH: `${folder}:${process.env['PATH']}`,
        BAKE_SECONDS: String(seconds),
        BAKE_PERIOD: '0.05',
        ALARMS: 'arn:r=cell-1-unwell',
      },
    });
  };

  it.each([
    ['nothing rings', 'OK', 1, 0],
    ['one rings at once', 'ALARM', 60, 1],
    ['one rings later', 'OK OK OK ALARM', 60, 1],
    ['there is no such alarm', 'None', 60, 1],
    ['it cannot be asked for a moment', 'OK FAIL FAIL OK', 1, 0],
    ['it cannot be asked at all', 'OK FAIL', 60, 1],
  ])('%s', (_, answers, seconds, code) => {
    const { status, stderr, stdout } = bake(answers, seconds);
    expect([status, stdout + stderr]).toEqual([
      code,
      expect.stringContaining(code === 0 ? 'no alarm' : 'cell-1-unwell'),
    ]);
  });
});
