/**
 * The pipeline: archive, and what is copied to the second Region, control plane, then the cells in
 * the waves of cells.toml, then the routers, then the new versions of both, then what is in the second
 * Region. Each part is its stack, then its manifests; each wave ends with a bake, and a wave that fails in anything goes back to
 * what it ran before. It must never begin a wave before the one before it has baked.
 *
 * It never says which image a cell or a router runs: for that it asks the control plane, which
 * brings a version to one after the other, judges it, and takes it back by itself.
 *
 * What goes back is a stage of CodePipeline as a whole. So a wave of more cells than a stage has
 * room for is several, each with a bake of its own: a bake apart from what it watches could not
 * take it back.
 */
import { relative } from 'node:path';
import { Stack, Stage } from 'aws-cdk-lib';
import { ActionCategory, PipelineType } from 'aws-cdk-lib/aws-codepipeline';
import type { CfnPipeline, IStage } from 'aws-cdk-lib/aws-codepipeline';
import { CodePipeline, CodePipelineSource, ShellStep } from 'aws-cdk-lib/pipelines';
import type { Construct } from 'constructs';
import type { Watched } from './alarms.ts';
import { waves } from './cells-toml.ts';
import { archive, cell, controlPlane, copies, router } from './deployment.ts';
import type { Deployment } from './deployment-config.ts';
import type { ZonalService } from './network/zonal-service.ts';
import { acknowledgeOtherRegions, acknowledgeWritten } from './pipeline-findings.ts';
import { CONTROL_PLANE, Steps, stepRole } from './pipeline-steps.ts';
import type { Deployed } from './pipeline-steps.ts';
import { home, placesOf, second, stackOf } from './places.ts';
import type { Place } from './places.ts';
import { ROOT } from './settings.ts';

/**
 * A bake waits in a build, which in a pipeline may take eight hours; some of it is for everything
 * else.
 */
const LONGEST_BAKE_SECONDS = 7 * 3_600;
/** Of CodePipeline. */
const ACTIONS_PER_STAGE_MAX = 50;
const STAGES_MAX = 50;
/**
 * A part is a change set that is made and one that is carried out, and its manifests; a wave also
 * bakes.
 */
const PARTS_PER_STAGE = Math.floor((ACTIONS_PER_STAGE_MAX - 1) / 3);

const VERSION_STAGE = 'Version';

/** What a wave deploys. */
interface Part extends Deployed {
  readonly stage: Stage;
}

export class PipelineStack extends Stack {
  /** As CodePipeline names them: those that deploy. */
  readonly deploying: string[];

  constructor(
    scope: Construct,
    id: string,
    private readonly props: Deployment,
  ) {
    const { config, folder, pipeline: source } = props;
    super(scope, id, {
      stackName: `${config.deployment.name}-pipeline`,
      description: `Deploys ${config.deployment.name}`,
      env: { account: config.aws.control_plane_account, region: config.deployment.region },
      terminationProtection: true,
    });
    if (config.deploys.bake_seconds > LONGEST_BAKE_SECONDS) {
      throw new Error(
        `deploys.bake_seconds is ${config.deploys.bake_seconds}; the pipeline bakes at most ${LONGEST_BAKE_SECONDS}`,
      );
    }
    if (!source) throw new Error(`${folder}/settings.json has no pipeline: a repository, a branch and a connection`);
    const inCheckout = relative(ROOT, folder);
    if (inCheckout.startsWith('..'))
      throw new Error(`${folder} is not in the repository, where the pipeline looks for it`);
    const checkedOut = CodePipelineSource.connection(source.repository, source.branch, {
      connectionArn: source.connection,
    });
    const synth = new ShellStep('Synth', {
      input: checkedOut,
      env: { DEPLOYMENT: `../${inCheckout}`, CDK_DISABLE_VERSION_CHECK: '1' },
      installCommands: ['cd cdk', 'npm ci'],
      commands: [
        'npx cdk synth --quiet --app "npx tsx bin/pipeline.ts"',
        'npx tsx ../kubernetes/generate.ts --deployment "$DEPLOYMENT" --out ../manifests',
      ],
      primaryOutputDirectory: 'cdk/cdk.out',
    });
    const pipeline = new CodePipeline(this, 'Pipeline', {
      pipelineName: `${config.deployment.name}`,
      pipelineType: PipelineType.V2,
      crossAccountKeys: true,
      enableKeyRotation: true,
      synth,
    });
    const role = stepRole(this, config);
    const manifests = synth.addOutputDirectory('manifests');
    const steps = new Steps({ config, role, checkout: checkedOut, manifests });
    const first = new Stage(this, 'archive-stage', { stageName: 'archive' });
    archive(first, this.props);
    const other = second(config);
    if (other) copies(first, this.props, other);
    pipeline.addStage(first);
    const { before, after } = this.parts();
    const all = [...before, ...after];
    all.forEach((parts, at) => {
      if (at === before.length) versions(pipeline, steps);
      const wave = pipeline.addWave(`Wave-${at + 1}`);
      for (const part of parts) {
        wave.addStage(part.stage, { post: [steps.apply(part)] });
      }
      wave.addPost(steps.bake(parts));
    });
    if (after.length === 0) versions(pipeline, steps);
    pipeline.buildPipeline();
    this.deploying = rollBack(pipeline, 2 + all.length);
    acknowledgeWritten(this, [pipeline, role]);
    acknowledgeOtherRegions(this, pipeline);
  }

  /** The parts that are deployed together, in order: before cells and routers have their versions, and after. */
  private parts(): { before: Part[][]; after: Part[][] } {
    const { config } = this.props;
    const other = second(config);
    const control = (place: Place) =>
      this.part(stackOf(CONTROL_PLANE, place), (scope) => {
        const made = controlPlane(scope, this.props, place);
        return { made, services: [made.service] };
      });
    const cells = (ids: string[], place?: Place) =>
      inGroups(ids, PARTS_PER_STAGE).map((group) =>
        group.map((id) =>
          this.part(place ? stackOf(id, place) : id, (scope) => {
            const made = cell(scope, this.props, id, place);
            return { made, services: [made.service] };
          }),
        ),
      );
    const routers = (place: Place) =>
      this.part(stackOf('router', place), (scope) => {
        const made = router(scope, this.props, place);
        return { made, services: made.services };
      });
    const away = config.cells.filter((one) => placesOf(config, one).length > 1).map(({ id }) => id);
    return {
      // Routers come once the cells run what they may ask for.
      before: [[control(home(config))], ...waves(config).flatMap((ids) => cells(ids)), [routers(home(config))]],
      after: other ? [...cells(away, other), [routers(other)], [control(other)]] : [],
    };
  }

  private part(
    stack: string,
    make: (scope: Stage) => { made: Stack & { readonly watched: Watched }; services: ZonalService[] },
  ): Part {
    const stage = new Stage(this, `${stack}-stage`, { stageName: stack });
    const {
      made: { account, region, watched },
      services,
    } = make(stage);
    return { stack, stage, account, region, watched, targets: services.flatMap((service) => service.targetGroupArns) };
  }
}

function versions(pipeline: CodePipeline, steps: Steps): void {
  const [ofCells, ofRouters] = [steps.deployVersion('cells'), steps.deployVersion('routers')];
  // Once the cells run what routers may ask for.
  ofRouters.addStepDependency(ofCells);
  pipeline.addWave(VERSION_STAGE, { post: [ofCells, ofRouters] });
}

function inGroups<T>(all: readonly T[], most: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / most) }, (_, at) => all.slice(at * most, (at + 1) * most));
}

const deploys = (stage: IStage) =>
  stage.actions.some(({ actionProperties: { category } }) => category === ActionCategory.DEPLOY);

/**
 * Every stage from the first that deploys goes back by itself when it fails, but for that of the
 * version, which the control plane has taken back then: the stage's last success would bring an
 * older one. There must be exactly `count` of them: the CDK cuts a stage that has too many actions in
 * two, of which neither could take the other back. Returns the names of those that go back.
 */
function rollBack({ pipeline }: CodePipeline, count: number): string[] {
  const { stages } = pipeline;
  const first = stages.findIndex(deploys);
  if (stages.length - first !== count)
    throw new Error(`${stages.length - first} stages deploy, not ${count}: one was cut in two`);
  if (stages.length > STAGES_MAX)
    throw new Error(
      `the pipeline has ${stages.length} stages, of which CodePipeline takes ${STAGES_MAX}: use fewer cells or shares`,
    );
  const resource = pipeline.node.defaultChild as CfnPipeline;
  const back = stages
    .map(({ stageName }) => stageName)
    .slice(first)
    .filter((name) => name !== VERSION_STAGE);
  for (const name of back) {
    const at = stages.findIndex(({ stageName }) => stageName === name);
    resource.addPropertyOverride(`Stages.${at}.OnFailure.Result`, 'ROLLBACK');
  }
  return back;
}
