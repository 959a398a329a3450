import { tmpdir } from 'node:os';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, it } from 'vitest';
import type { Deployment } from '../lib/deployment-config.ts';
import { PipelineStack } from '../lib/pipeline-stack.ts';
import { example, exampleText, manyCells, settingsOf, twoRegionsText } from './synthesized.ts';

function pipeline(text: string, changed: Partial<Deployment> = {}) {
  const stack = new PipelineStack(new App(), 'pipeline', { ...example, ...settingsOf(text), ...changed });
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

  it('goes in waves: archive, control plane, canary, growing shares, routers, the versions', () => {
    expect(properties['PipelineType']).toBe('V2');
    const deployed = stages.map(({ Name: stage, Actions }) =>
      // The one action of a stage without a step after it bears no name of its own.
      Actions.map(({ Name }) => (Name === 'Deploy' ? stage : /(.*)\.Deploy$/.exec(Name)?.[1])).filter(Boolean),
    );
    expect(deployed.slice(-7)).toEqual([
      [expect.stringContaining('archive')],
      [expect.stringContaining('control-plane')],
      [expect.stringContaining('cell-1')],
      [expect.stringContaining('cell-2'), expect.stringContaining('cell-3')],
      [expect.stringContaining('cell-4'), expect.stringContaining('cell-5')],
      [expect.stringContaining('router')],
      [],
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

  it('has the control plane bring each version once, the cells before the routers, and does not go back', () => {
    const { Name, Actions, OnFailure } = stages.at(-1)!;
    expect([Name, OnFailure]).toEqual(['Version', undefined]);
    const inOrder = [...Actions].sort((one, other) => one.RunOrder - other.RunOrder);
    expect(inOrder.map((action) => [action.Name, action.RunOrder])).toEqual([
      ['Deploy-cells', 1],
      ['Deploy-routers', 2],
    ]);
    const builds = Object.values(template.findResources('AWS::CodeBuild::Project')).map(({ Properties }) => Properties);
    const made = builds.filter(({ Source }) => JSON.stringify(Source).includes('cdk/scripts/deploy'));
    const ran = made.map(({ Source }) => /deploy manifests\/control-plane (\w+)/.exec(JSON.stringify(Source))?.[1]);
    expect(ran.sort()).toEqual(['cells', 'routers']);
    for (const build of made) {
      expect(build['TimeoutInMinutes']).toBe(480);
      const variables = build['Environment'].EnvironmentVariables as { Name: string; Value: string }[];
      expect(Object.fromEntries(variables.map((one) => [one.Name, one.Value]))).toMatchObject({
        CLUSTER: 'wallet-control-plane',
        ROLE: 'arn:aws:iam::200000000000:role/wallet-control-plane-deploy',
      });
    }
  });

  it('bakes at the end of each wave, once all of it runs', () => {
    for (const { Name, Actions } of stages.slice(-6).filter((one) => one.Name !== 'Version')) {
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
      'arn:aws:iam::300000000004:role/wallet-cell-4-deploy=cell-4- arn:aws:iam::300000000005:role/wallet-cell-5-deploy=cell-5-',
    );
    // Five minutes that the slowest alarm looks back, and two by which figures are late.
    expect(of).toMatch(/SETTLE_SECONDS[^}]*420/);
  });

  it('makes the second Region at the end, with manifests and a bake, as at home', () => {
    const two = pipeline(twoRegionsText);
    const made = two.properties['Stages'] as MadeStage[];
    const [cells, routers, control] = made.slice(-3);
    expect(made.slice(-3).map(({ Name, OnFailure }) => [Name, OnFailure])).toEqual(
      two.deploying.slice(-3).map((name) => [name, { Result: 'ROLLBACK' }]),
    );
    for (const [stage, stack] of [
      [cells!, 'cell-1-eu-central-1'],
      [routers!, 'router-eu-central-1'],
      [control!, 'control-plane-eu-central-1'],
    ] as const) {
      expect(stage.Actions.map(({ Name }) => Name)).toEqual([
        expect.stringMatching(new RegExp(`wallet-${stack}\\.Prepare$`)),
        expect.stringMatching(new RegExp(`wallet-${stack}\\.Deploy$`)),
        expect.stringContaining(`Apply-${stack}`),
        `Bake-${stack}`,
      ]);
    }
    const variables = (of: RegExp) => {
      const builds = Object.values(two.template.findResources('AWS::CodeBuild::Project'));
      const found = builds.filter(({ Properties }) => of.test(JSON.stringify(Properties)));
      return found.map(({ Properties }) =>
        Object.fromEntries(
          (Properties.Environment.EnvironmentVariables as { Name: string; Value: string }[]).map((one) => [
            one.Name,
            one.Value,
          ]),
        ),
      );
    };
    expect(variables(/cdk\/scripts\/apply manifests\/cell-1-eu-central-1/)).toEqual([
      expect.objectContaining({
        AWS_REGION: 'eu-central-1',
        CLUSTER: 'wallet-cell-1-eu-central-1',
        ROLE: 'arn:aws:iam::300000000001:role/wallet-cell-1-eu-central-1-deploy',
      }),
    ]);
    expect(variables(/wallet-cell-1-eu-central-1-deploy=cell-1-eu-central-1-/)).toEqual([
      expect.objectContaining({ AWS_REGION: 'eu-central-1', BAKE_SECONDS: '900' }),
    ]);
    const [role] = Object.values(two.template.findResources('AWS::IAM::Role')).filter(
      ({ Properties }) => Properties.RoleName === 'wallet-pipeline-step',
    );
    expect(JSON.stringify(role)).toContain('role/wallet-cell-1-eu-central-1-deploy');
  });

  it('makes what is copied to the second Region before what copies it', () => {
    const made = pipeline(twoRegionsText).properties['Stages'] as MadeStage[];
    const at = (what: string) =>
      made.findIndex(({ Name, Actions }) => `${Name} ${JSON.stringify(Actions)}`.includes(`wallet-${what}`));
    expect(at('copies-eu-central-1')).toBeGreaterThan(0);
    expect(at('copies-eu-central-1')).toBeLessThan(at('control-plane'));
  });

  it('refuses a bake that CodeBuild would cut off', () => {
    expect(() => pipeline(exampleText.replace('bake_seconds = 900', 'bake_seconds = 30000'))).toThrow(
      'bakes at most 25200',
    );
  });

  it.each([
    ['no source', { pipeline: undefined }, 'settings.json has no pipeline'],
    ['a folder outside of the repository', { folder: tmpdir() }, 'is not in the repository'],
  ])('is refused with %s', (_, changed, words) => {
    expect(() => pipeline(exampleText, changed)).toThrow(words);
  });
});

describe.each([34, 60])('the pipeline of %i cells', (count) => {
  const made = pipeline(manyCells(count)).properties['Stages'] as MadeStage[];
  const stages = made.slice(made.findIndex(({ Name }) => Name.includes('archive')));
  const named = (stage: MadeStage, what: RegExp) =>
    stage.Actions.flatMap(({ Name }) => (what.exec(Name)?.[1] ? [what.exec(Name)![1]!] : []));

  it('fits what CodePipeline takes', () => {
    expect(made.length).toBeLessThanOrEqual(50);
    expect(Math.max(...made.map(({ Actions }) => Actions.length))).toBeLessThanOrEqual(50);
  });

  it('takes back, in one stage, all that the bake of this stage has watched', () => {
    const waves = stages.filter(({ Name }) => Name !== 'Version');
    expect(waves).toHaveLength(stages.length - 1);
    const cells = waves.flatMap((stage) => {
      expect([stage.Name, stage.OnFailure]).toEqual([stage.Name, { Result: 'ROLLBACK' }]);
      const deployed = named(stage, /(?:^|\.)wallet-(cell-\d+)\.Deploy$/).sort();
      expect([stage.Name, named(stage, /(?:^|\.)Apply-(cell-\d+)$/).sort()]).toEqual([stage.Name, deployed]);
      if (deployed.length > 0) expect([stage.Name, named(stage, /(Bake)-/)]).toEqual([stage.Name, ['Bake']]);
      return deployed;
    });
    expect(new Set(cells).size).toBe(count);
    expect(cells).toHaveLength(count);
  });
});
