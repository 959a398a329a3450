/**
 * A Kubernetes cluster for one stack, in EKS Auto Mode: AWS keeps its nodes. It must never know
 * what runs on it: that is in kubernetes/, generated from the same cells.toml.
 */
import { CfnResource, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { InterfaceVpcEndpointAwsService } from 'aws-cdk-lib/aws-ec2';
import type { ISecurityGroup } from 'aws-cdk-lib/aws-ec2';
import { CfnAccessEntry, CfnPodIdentityAssociation } from 'aws-cdk-lib/aws-eks';
import {
  AccessPolicy,
  AccessScopeType,
  Cluster as EksCluster,
  ClusterLoggingTypes,
  DefaultCapacityType,
  EndpointAccess,
  KubernetesVersion,
} from 'aws-cdk-lib/aws-eks-v2';
import { PolicyStatement, Role } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Construct } from 'constructs';
import { SERVICE_CIDR } from './network/addresses.ts';
import type { AwsConfig, Settings } from './deployment-config.ts';
import { COLLECTOR, KUBERNETES_NAMESPACE, clusterName, deployRole, operatorsRole, pipelineRole } from './names.ts';
import type { Network } from './network/network.ts';
import { parsedRole, podRole, roleForAnother } from './roles.ts';

const OF_AUTO_MODE = [
  'AmazonEC2ContainerRegistryReadOnly',
  'AmazonEKSBlockStoragePolicy',
  'AmazonEKSClusterPolicy',
  'AmazonEKSComputePolicy',
  'AmazonEKSLoadBalancingPolicy',
  'AmazonEKSNetworkingPolicy',
  'AmazonEKSWorkerNodePolicy',
];

export class Cluster extends Construct {
  readonly securityGroup: ISecurityGroup;
  readonly clusterName: string;

  constructor(
    scope: Construct,
    id: string,
    { config, operators }: Pick<Settings, 'config' | 'operators'>,
    stack: string,
    network: Network,
  ) {
    super(scope, id);
    this.clusterName = clusterName(config, stack);
    const secrets = new Key(this, 'Secrets', {
      enableKeyRotation: true,
      description: `Secrets of cluster ${this.clusterName}`,
    });
    const cluster = new EksCluster(this, 'Eks', {
      clusterName: this.clusterName,
      version: KubernetesVersion.V1_34,
      vpc: network.vpc,
      vpcSubnets: [{ subnetType: network.inside }],
      defaultCapacityType: DefaultCapacityType.AUTOMODE,
      endpointAccess: EndpointAccess.PUBLIC_AND_PRIVATE,
      serviceIpv4Cidr: SERVICE_CIDR,
      secretsEncryptionKey: secrets,
      bootstrapClusterCreatorAdminPermissions: false,
      clusterLogging: Object.values(ClusterLoggingTypes),
      removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    });
    // Lets a zonal shift take the nodes of a zone out of service, as it does the load balancer's.
    const resource = cluster.node.defaultChild as CfnResource;
    resource.addPropertyOverride('ZonalShiftConfig', { Enabled: true });
    this.securityGroup = cluster.clusterSecurityGroup;
    Validations.of(cluster).acknowledge(
      {
        id: 'AwsSolutions-EKS1',
        reason: 'The pipeline, in another account, deploys through the public endpoint; IAM decides who may.',
      },
      {
        id: 'Annotation::@aws-cdk/aws-eks:isolatedSubnetsForKubectlPrivateSubnets',
        reason: 'The stack applies no manifests itself; the network has the endpoints that nodes need (network.ts).',
      },
    );
    for (const policy of OF_AUTO_MODE) {
      Validations.of(cluster).acknowledge({
        id: `AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/${policy}]`,
        reason: 'What EKS Auto Mode and its nodes need, as AWS maintains it; our processes have none of it.',
      });
    }
    this.deployer(config, stack, cluster);
    if (operators !== undefined) this.operators(operators, operatorsRole(config, stack), cluster);
  }

  /** Lets pods of this service account act with these statements, and no others. */
  identity(
    serviceAccount: string,
    statements: PolicyStatement[],
    { roleName, namespace = KUBERNETES_NAMESPACE }: { roleName?: string; namespace?: string } = {},
  ): Role {
    const role = podRole(this, `${serviceAccount}-role`, `${namespace}/${serviceAccount}`, this.clusterName, {
      statements,
      roleName,
    });
    const association = new CfnPodIdentityAssociation(this, `${serviceAccount}-association`, {
      clusterName: this.clusterName,
      namespace,
      serviceAccount,
      roleArn: role.roleArn,
      // They would go along to every role that is assumed further, each of which would have to
      // allow it.
      disableSessionTags: true,
    });
    association.node.addDependency(this.node.findChild('Eks'));
    return role;
  }

  /** The collector writes metrics as log lines, into one group, and spans to X-Ray, of which it can read none. */
  collector(stack: string, network: Network): void {
    const { account, region } = Stack.of(this);
    const group = `arn:aws:logs:${region}:${account}:log-group:/wallet/${stack}/metrics`;
    // Takes no resource.
    const spans = { actions: ['xray:PutTraceSegments'], resources: ['*'] };
    const role = this.identity(COLLECTOR, [
      new PolicyStatement({
        actions: ['logs:CreateLogGroup', 'logs:CreateLogStream', 'logs:PutLogEvents'],
        resources: [`${group}:*`],
      }),
      new PolicyStatement(spans),
    ]);
    network.reach('Traces', InterfaceVpcEndpointAwsService.XRAY, { ...spans, role });
    Validations.of(role).acknowledge(
      {
        id: `AwsSolutions-IAM5[Resource::${group}:*]`,
        reason: 'Streams of the one group; each collector names its own.',
      },
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason: 'Spans can be written to X-Ray of this account only; the right can be given for all of them only.',
      },
    );
  }

  /** Lets a role in as a member of a group, of which manifests say what it may do. */
  admit(id: string, role: Role, group: string): void {
    const entry = new CfnAccessEntry(this, id, {
      clusterName: this.clusterName,
      principalArn: role.roleArn,
      kubernetesGroups: [group],
    });
    entry.node.addDependency(this.node.findChild('Eks'));
  }

  private deployer(config: AwsConfig, stack: string, cluster: EksCluster): void {
    const role = roleForAnother(this, 'Deploy', {
      roleName: deployRole(config, stack),
      account: config.aws.control_plane_account,
      trusted: pipelineRole(config),
      statements: [
        new PolicyStatement({ actions: ['eks:DescribeCluster'], resources: [cluster.clusterArn] }),
        // Takes no resource.
        new PolicyStatement({ actions: ['cloudwatch:DescribeAlarms'], resources: ['*'] }),
      ],
    });
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason: 'DescribeAlarms of composite alarms can be given for all alarms only; it reads.',
    });
    administers(cluster, 'DeployAccess', role);
  }

  /**
   * They put Secrets in and look at pods. From their own role, wherever that is, they become one of
   * this account.
   */
  private operators(arn: string, roleName: string, cluster: EksCluster): void {
    const role = roleForAnother(this, 'Operators', {
      roleName,
      ...parsedRole(arn),
      statements: [new PolicyStatement({ actions: ['eks:DescribeCluster'], resources: [cluster.clusterArn] })],
    });
    administers(cluster, 'OperatorsAccess', role);
  }
}

/** Namespaces and bindings of target groups are not of a namespace's own editor. */
function administers(cluster: EksCluster, id: string, role: Role): void {
  cluster.grantAccess(id, role.roleArn, [
    AccessPolicy.fromAccessPolicyName('AmazonEKSClusterAdminPolicy', { accessScopeType: AccessScopeType.CLUSTER }),
  ]);
}
