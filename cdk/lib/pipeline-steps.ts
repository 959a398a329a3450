/**
 * What the pipeline runs beside stacks: builds that start cdk/scripts/{apply,deploy,bake}, with a role that becomes that
 * of the stack in question. A step must never need more than the checkout, the manifests and its environment.
 */
import { Duration, Stack } from 'aws-cdk-lib';
import type { CfnOutput } from 'aws-cdk-lib';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CodeBuildStep } from 'aws-cdk-lib/pipelines';
import type { CodePipelineSource, FileSet } from 'aws-cdk-lib/pipelines';
import type { Watched } from './alarms.ts';
import type { AwsConfig } from './deployment-config.ts';
import { clusterName, deployRole, pipelineRole } from './names.ts';
import { places, placesOf, stackOf } from './places.ts';

/** The longest that CodeBuild lets a build take. The job that it waits for ends before. */
const DEPLOY_MAX = Duration.hours(8);
/** What a build may take beyond what it waits for. */
const SLACK = Duration.minutes(15);

export const CONTROL_PLANE = 'control-plane';

/** A stack that a wave deploys, as its steps need it. */
export interface Deployed {
  readonly stack: string;
  readonly account: string;
  readonly region: string;
  readonly watched: Watched;
  readonly targets: CfnOutput[];
}

/** What each step is made of. */
interface Given {
  readonly config: AwsConfig;
  readonly role: Role;
  readonly checkout: CodePipelineSource;
  readonly manifests: FileSet;
}

export class Steps {
  constructor(private readonly given: Given) {}

  /** Puts the part's manifests into its cluster and waits until they run. */
  apply({ stack, account, region, targets }: Deployed): CodeBuildStep {
    const { config, role, checkout, manifests } = this.given;
    return new CodeBuildStep(`Apply-${stack}`, {
      input: checkout,
      additionalInputs: { manifests },
      role,
      env: {
        CLUSTER: clusterName(config, stack),
        ROLE: roleArn(config, account, stack),
        AWS_REGION: region,
        TARGETS: targets.map(outputName).join(' '),
      },
      envFromCfnOutputs: Object.fromEntries(targets.map((output) => [outputName(output), output])),
      commands: [`cdk/scripts/apply manifests/${stack}`],
      timeout: Duration.minutes(60),
    });
  }

  /** Has the control plane bring the version of settings.json, and waits for its verdict. */
  deployVersion(of: 'cells' | 'routers'): CodeBuildStep {
    const { config, role, checkout, manifests } = this.given;
    return new CodeBuildStep(`Deploy-${of}`, {
      input: checkout,
      additionalInputs: { manifests },
      role,
      env: {
        CLUSTER: clusterName(config, CONTROL_PLANE),
        ROLE: roleArn(config, config.aws.control_plane_account, CONTROL_PLANE),
      },
      commands: [`cdk/scripts/deploy manifests/${CONTROL_PLANE} ${of}`],
      timeout: DEPLOY_MAX,
    });
  }

  /** Lets the alarms of all parts settle, and watches them for as long as cells.toml says. */
  bake(parts: Deployed[]): CodeBuildStep {
    const { config, role, checkout } = this.given;
    const seconds = config.deploys.bake_seconds;
    const settling = Math.max(...parts.map(({ watched }) => watched.settleSeconds));
    return new CodeBuildStep(`Bake-${parts.map((part) => part.stack).join('-')}`.slice(0, 90), {
      input: checkout,
      role,
      env: {
        SETTLE_SECONDS: String(settling),
        BAKE_SECONDS: String(seconds),
        // Of all of them: a wave is in one Region.
        AWS_REGION: parts[0]!.region,
        ALARMS: parts
          .map(({ account, stack, watched }) => `${roleArn(config, account, stack)}=${watched.prefix}`)
          .join(' '),
      },
      commands: ['cdk/scripts/bake'],
      timeout: Duration.seconds(settling + seconds).plus(SLACK),
    });
  }
}

/** The role of all steps: it may become the one of each stack, and do nothing by itself. */
export function stepRole(scope: Stack, config: AwsConfig): Role {
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
  const resources = stacks.map(([stack, account]) => roleArn(config, account, stack));
  return new Role(scope, 'Step', {
    roleName: pipelineRole(config),
    description: 'Applies manifests and watches alarms, in the account of whichever stack is deployed',
    assumedBy: new ServicePrincipal('codebuild.amazonaws.com'),
    inlinePolicies: {
      deploy: new PolicyDocument({ statements: [new PolicyStatement({ actions: ['sts:AssumeRole'], resources })] }),
    },
  });
}

const roleArn = (config: AwsConfig, account: string, stack: string) =>
  `arn:aws:iam::${account}:role/${deployRole(config, stack)}`;
const outputName = (output: CfnOutput) => Stack.of(output).resolve(output.logicalId) as string;
