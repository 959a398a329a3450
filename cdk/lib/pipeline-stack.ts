/**
 * The pipeline: archive, and what is copied to the second Region, control plane, then the cells in
 * the waves of cells.toml, then the routers, then the new versions of both, then what is in the second
 * Region. Each part is its stack,
 * then its manifests; each wave ends with a bake, and a wave that fails in anything goes back to
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
import { Duration, Stack, Stage, Validations } from 'aws-cdk-lib';
import type { CfnOutput } from 'aws-cdk-lib';
import { CfnProject } from 'aws-cdk-lib/aws-codebuild';
import { ActionCategory, PipelineType } from 'aws-cdk-lib/aws-codepipeline';
import type { CfnPipeline, IStage } from 'aws-cdk-lib/aws-codepipeline';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnBucket } from 'aws-cdk-lib/aws-s3';
import { CodeBuildStep, CodePipeline, CodePipelineSource, ShellStep } from 'aws-cdk-lib/pipelines';
import type { Construct } from 'constructs';
import type { Watched } from './alarms.ts';
import { waves } from './cells-toml.ts';
import { archive, cell, controlPlane, copies, router } from './deployment.ts';
import type { Deployment } from './deployment-config.ts';
import { clusterName, deployRole, pipelineRole } from './names.ts';
import type { ZonalService } from './network/zonal-service.ts';
import { home, places, placesOf, second, stackOf } from './places.ts';
import type { Place } from './places.ts';
import { ROOT } from './settings.ts';

/**
 * A bake waits in a build, which in a pipeline may take eight hours; some of it is for everything
 * else.
 */
const LONGEST_BAKE_SECONDS = 7 * 3_600;
/** The longest that CodeBuild lets a build take. The job that it waits for ends before. */
const DEPLOY_MAX = Duration.hours(8);
/** What a build may take beyond what it waits for. */
const SLACK = Duration.minutes(15);
/** Of CodePipeline. */
const ACTIONS_PER_STAGE_MAX = 50;
const STAGES_MAX = 50;
/**
 * A part is a change set that is made and one that is carried out, and its manifests; a wave also
 * bakes.
 */
const PARTS_PER_STAGE = Math.floor((ACTIONS_PER_STAGE_MAX - 1) / 3);

const CONTROL_PLANE = 'control-plane';
const VERSION_STAGE = 'Version';

/** What a wave deploys. */
interface Part {
  readonly stack: string;
  readonly stage: Stage;
  readonly account: string;
  readonly region: string;
  readonly watched: Watched;
  readonly targets: CfnOutput[];
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
    const role = this.stepRole();
    const manifests = synth.addOutputDirectory('manifests');
    const first = new Stage(this, 'archive-stage', { stageName: 'archive' });
    archive(first, this.props);
    const other = second(config);
    if (other) copies(first, this.props, other);
    pipeline.addStage(first);
    const { before, after } = this.parts();
    const all = [...before, ...after];
    all.forEach((parts, at) => {
      if (at === before.length) this.versions(pipeline, role, checkedOut, manifests);
      const wave = pipeline.addWave(`Wave-${at + 1}`);
      for (const part of parts) {
        wave.addStage(part.stage, { post: [this.apply(part, role, checkedOut, manifests)] });
      }
      wave.addPost(this.bake(parts, role, checkedOut));
    });
    if (after.length === 0) this.versions(pipeline, role, checkedOut, manifests);
    pipeline.buildPipeline();
    this.deploying = rollBack(pipeline, 2 + all.length);
    this.acknowledge([pipeline, role]);
    this.acknowledgeOtherRegions(pipeline);
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
    return { stack, stage, account, region, watched, targets: outputs(services) };
  }

  private roleArn({ account, stack }: Pick<Part, 'account' | 'stack'>): string {
    return `arn:aws:iam::${account}:role/${deployRole(this.props.config, stack)}`;
  }

  /** Puts the part's manifests into its cluster and waits until they run. */
  private apply(
    part: Part,
    role: Role,
    input: CodePipelineSource,
    manifests: ReturnType<ShellStep['addOutputDirectory']>,
  ) {
    return new CodeBuildStep(`Apply-${part.stack}`, {
      input,
      additionalInputs: { manifests },
      role,
      env: {
        CLUSTER: clusterName(this.props.config, part.stack),
        ROLE: this.roleArn(part),
        AWS_REGION: part.region,
        TARGETS: part.targets.map(outputName).join(' '),
      },
      envFromCfnOutputs: Object.fromEntries(part.targets.map((output) => [outputName(output), output])),
      commands: [`cdk/scripts/apply manifests/${part.stack}`],
      timeout: Duration.minutes(60),
    });
  }

  private versions(...given: [CodePipeline, Role, CodePipelineSource, ReturnType<ShellStep['addOutputDirectory']>]) {
    const [pipeline, ...rest] = given;
    const [ofCells, ofRouters] = [this.deployVersion('cells', ...rest), this.deployVersion('routers', ...rest)];
    // Once the cells run what routers may ask for.
    ofRouters.addStepDependency(ofCells);
    pipeline.addWave(VERSION_STAGE, { post: [ofCells, ofRouters] });
  }

  /** Has the control plane bring the version of settings.json, and waits for its verdict. */
  private deployVersion(
    of: 'cells' | 'routers',
    role: Role,
    input: CodePipelineSource,
    manifests: ReturnType<ShellStep['addOutputDirectory']>,
  ) {
    const { config } = this.props;
    return new CodeBuildStep(`Deploy-${of}`, {
      input,
      additionalInputs: { manifests },
      role,
      env: {
        CLUSTER: clusterName(config, CONTROL_PLANE),
        ROLE: this.roleArn({ account: config.aws.control_plane_account, stack: CONTROL_PLANE }),
      },
      commands: [`cdk/scripts/deploy manifests/${CONTROL_PLANE} ${of}`],
      timeout: DEPLOY_MAX,
    });
  }

  /** Lets the alarms of all parts settle, and watches them for as long as cells.toml says. */
  private bake(parts: Part[], role: Role, input: CodePipelineSource) {
    const seconds = this.props.config.deploys.bake_seconds;
    const settling = Math.max(...parts.map(({ watched }) => watched.settleSeconds));
    return new CodeBuildStep(`Bake-${parts.map((part) => part.stack).join('-')}`.slice(0, 90), {
      input,
      role,
      env: {
        SETTLE_SECONDS: String(settling),
        BAKE_SECONDS: String(seconds),
        // Of all of them: a wave is in one Region.
        AWS_REGION: parts[0]!.region,
        ALARMS: parts.map((part) => `${this.roleArn(part)}=${part.watched.prefix}`).join(' '),
      },
      commands: ['cdk/scripts/bake'],
      timeout: Duration.seconds(settling + seconds).plus(SLACK),
    });
  }

  private stepRole(): Role {
    const { config } = this.props;
    const { aws, cells } = config;
    const stacks: [string, string][] = [
      ...places(config).flatMap((place): [string, string][] => [
        [stackOf(CONTROL_PLANE, place), aws.control_plane_account],
        [stackOf('router', place), aws.router_account],
      ]),
      ...cells.flatMap((one) =>
        placesOf(config, one).map((place): [string, string] => [stackOf(one.id, place), one.account]),
      ),
    ];
    const resources = stacks.map(([stack, account]) => this.roleArn({ stack, account }));
    return new Role(this, 'Step', {
      roleName: pipelineRole(config),
      description: 'Applies manifests and watches alarms, in the account of whichever stack is deployed',
      assumedBy: new ServicePrincipal('codebuild.amazonaws.com'),
      inlinePolicies: {
        deploy: new PolicyDocument({ statements: [new PolicyStatement({ actions: ['sts:AssumeRole'], resources })] }),
      },
    });
  }

  /**
   * What CDK Pipelines writes by itself; not of the stages below, which are judged as the cells'
   * own app.
   */
  private acknowledge(scopes: Construct[]): void {
    const projects = this.node
      .findAll()
      .filter((one) => one instanceof CfnProject)
      .map((one) => this.getLogicalId(one));
    const { account, region } = this;
    const findings = [
      ...[
        's3:Abort*',
        's3:DeleteObject*',
        's3:GetBucket*',
        's3:GetObject*',
        's3:List*',
        'kms:GenerateDataKey*',
        'kms:ReEncrypt*',
      ].map((action) => `Action::${action}`),
      `Resource::<${this.getLogicalId(this.node.findAll().find((one) => one instanceof CfnBucket) as CfnBucket)}.Arn>/*`,
      ...projects.map((id) => `Resource::arn:aws:logs:${region}:${account}:log-group:/aws/codebuild/<${id}>:*`),
      ...projects.map((id) => `Resource::arn:aws:codebuild:${region}:${account}:report-group/<${id}>-*`),
    ];
    for (const scope of scopes) {
      Validations.of(scope).acknowledge(
        {
          id: 'AwsSolutions-S1',
          reason: 'The bucket holds artifacts of the pipeline, which itself records who started what.',
        },
        {
          id: 'AwsSolutions-CB4',
          reason: "Artifacts are encrypted under the pipeline's own key; the projects keep nothing else.",
        },
        ...findings.map((finding) => ({
          id: `AwsSolutions-IAM5[${finding}]`,
          reason: "CDK Pipelines writes it: a project's own log and the artifacts of this pipeline.",
        })),
      );
    }
    Validations.of(this.node.findChild('Pipeline').node.findChild('UpdatePipeline')).acknowledge(
      {
        id: `AwsSolutions-IAM5[Resource::arn:*:iam::${account}:role/*]`,
        reason: "Restricted by a condition to the roles of the CDK's bootstrap.",
      },
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason: 'DescribeStacks and ListBuckets, by which the pipeline updates itself.',
      },
    );
  }

  /**
   * Artifacts are copied to each Region in which a stack is deployed; the CDK makes a bucket and a
   * key there.
   */
  private acknowledgeOtherRegions({ pipeline }: CodePipeline): void {
    const elsewhere = Object.entries(pipeline.crossRegionSupport).filter(([region]) => region !== this.region);
    for (const [region, { stack, replicationBucket }] of elsewhere) {
      Validations.of(stack).acknowledge({
        id: 'AwsSolutions-S1',
        reason: `The bucket holds copies of artifacts for ${region}; the pipeline itself records each start and its caller.`,
      });
      Validations.of(pipeline).acknowledge(
        {
          id: `AwsSolutions-IAM5[Resource::arn:aws:s3:::${String(this.resolve(replicationBucket.bucketName))}/*]`,
          reason: `Copies of the artifacts of this pipeline for ${region}.`,
        },
        {
          id: 'AwsSolutions-IAM5[Resource::*]',
          reason:
            'The CDK writes it: the key of another Region has no name here. Policies of keys say which may be used.',
        },
      );
    }
  }
}

const outputs = (services: ZonalService[]) => services.flatMap((service) => service.targetGroupArns);
const outputName = (output: CfnOutput) => Stack.of(output).resolve(output.logicalId) as string;

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
