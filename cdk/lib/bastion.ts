/**
 * A way to the control plane for its operators: an instance without a public address and without a
 * key, through which Session Manager forwards a port. It is in a subnet of its own, from which
 * no route leads out of the network. It may open connections to the control plane's load balancer
 * and to Session Manager, and nothing may open one to it.
 */
import { CfnOutput, Stack, Validations } from 'aws-cdk-lib';
import {
  AmazonLinuxCpuType,
  BlockDeviceVolume,
  FlowLog,
  FlowLogDestination,
  FlowLogResourceType,
  FlowLogTrafficType,
  HttpTokens,
  Instance,
  InstanceClass,
  InstanceSize,
  InstanceType,
  InterfaceVpcEndpoint,
  InterfaceVpcEndpointAwsService,
  MachineImage,
  Peer,
  Port,
  PrivateSubnet,
  SecurityGroup,
} from 'aws-cdk-lib/aws-ec2';
import type { IVpc } from 'aws-cdk-lib/aws-ec2';
import { AnyPrincipal, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { AwsConfig } from './deployment-config.ts';
import { PORTS, bastionRole } from './names.ts';
import { BASTION_CIDR } from './network/addresses.ts';
import type { ZonalService } from './network/zonal-service.ts';
import { stackOf } from './places.ts';
import type { Place } from './places.ts';
import { parsedRole, roleForAnother } from './roles.ts';

/** The only kind of session that operators may start: no shell. */
export const SESSION = 'AWS-StartPortForwardingSessionToRemoteHost';

/** What the agent on the instance does. None of it takes a resource that is known before. */
const AGENT = {
  Ssm: ['ssm:UpdateInstanceInformation'],
  SsmMessages: [
    'ssmmessages:CreateControlChannel',
    'ssmmessages:CreateDataChannel',
    'ssmmessages:OpenControlChannel',
    'ssmmessages:OpenDataChannel',
  ],
};
const ENDPOINTS = { Ssm: InterfaceVpcEndpointAwsService.SSM, SsmMessages: InterfaceVpcEndpointAwsService.SSM_MESSAGES };
/** As long as the logs of processes. */
const RETENTION = RetentionDays.THREE_MONTHS;

export interface BastionProps {
  readonly config: AwsConfig;
  readonly place: Place;
  readonly vpc: IVpc;
  /** The only service that it leads to. */
  readonly service: ZonalService;
  /** ARN of the role that operators have. */
  readonly operators: string;
}

export class Bastion extends Construct {
  private readonly vpc: IVpc;

  constructor(scope: Construct, id: string, { config, place, vpc, service, operators }: BastionProps) {
    super(scope, id);
    this.vpc = vpc;
    const subnet = new PrivateSubnet(this, 'Subnet', {
      vpcId: vpc.vpcId,
      availabilityZone: place.zones[0]!,
      cidrBlock: BASTION_CIDR,
      mapPublicIpOnLaunch: false,
    });
    const group = this.group('Group', 'The bastion');
    for (const one of service.balancer.connections.securityGroups)
      group.addEgressRule(one, Port.tcp(PORTS.controlPlane), 'the control plane');
    const role = this.agent(subnet, group);
    const instance = this.instance(subnet, group, role);
    this.logged(subnet);
    this.forOperators(bastionRole(config, stackOf('bastion', place)), operators, instance);
    new CfnOutput(this, 'Id', { value: instance.instanceId }).overrideLogicalId('Bastion');
    new CfnOutput(this, 'To', { value: service.balancer.loadBalancerDnsName }).overrideLogicalId('BastionTo');
  }

  private group(id: string, description: string): SecurityGroup {
    return new SecurityGroup(this, id, { vpc: this.vpc, allowAllOutbound: false, description });
  }

  /** The agent's role, and the endpoints by which it is reached: they carry nothing else. */
  private agent(subnet: PrivateSubnet, bastion: SecurityGroup): Role {
    const role = new Role(this, 'Role', {
      description: 'The bastion: what Session Manager needs of an instance',
      assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
      inlinePolicies: {
        use: new PolicyDocument({
          statements: [new PolicyStatement({ actions: Object.values(AGENT).flat(), resources: ['*'] })],
        }),
      },
    });
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason: 'Channels have no resource; that of its own record is its id, which its role cannot know before.',
    });
    const endpoints = this.group('Endpoints', 'Session Manager, for the bastion');
    endpoints.addIngressRule(bastion, Port.tcp(443), 'the bastion');
    bastion.addEgressRule(Peer.ipv4(BASTION_CIDR), Port.tcp(443), 'Session Manager');
    for (const name of ['Ssm', 'SsmMessages'] as const) {
      const endpoint = new InterfaceVpcEndpoint(this, name, {
        vpc: this.vpc,
        service: ENDPOINTS[name],
        subnets: { subnets: [subnet] },
        securityGroups: [endpoints],
        open: false,
      });
      endpoint.addToPolicy(
        new PolicyStatement({
          principals: [new AnyPrincipal()],
          actions: AGENT[name],
          resources: ['*'],
          conditions: { ArnEquals: { 'aws:PrincipalArn': role.roleArn } },
        }),
      );
    }
    return role;
  }

  private instance(subnet: PrivateSubnet, securityGroup: SecurityGroup, role: Role): Instance {
    const instance = new Instance(this, 'Instance', {
      vpc: this.vpc,
      vpcSubnets: { subnets: [subnet] },
      securityGroup,
      role,
      instanceName: 'bastion',
      instanceType: InstanceType.of(InstanceClass.T4G, InstanceSize.NANO),
      // AWS's newest at each deploy: it is replaced rather than patched. It has the agent.
      machineImage: MachineImage.latestAmazonLinux2023({ cpuType: AmazonLinuxCpuType.ARM_64 }),
      associatePublicIpAddress: false,
      httpTokens: HttpTokens.REQUIRED,
      httpPutResponseHopLimit: 1,
      blockDevices: [{ deviceName: '/dev/xvda', volume: BlockDeviceVolume.ebs(8, { encrypted: true }) }],
    });
    Validations.of(instance).acknowledge(
      {
        id: 'AwsSolutions-EC28',
        reason: 'Nothing is decided by its metrics; whether it works is seen when it is used.',
      },
      {
        id: 'AwsSolutions-EC29',
        reason: 'It keeps nothing, is replaced with each newer image, and has to go where settings.json drops it.',
      },
    );
    return instance;
  }

  /** Each connection of it and to it. What is sent through it, the control plane keeps itself. */
  private logged(subnet: PrivateSubnet): void {
    // Kept when the bastion goes, so that it has no name that the next one would take again.
    const group = new LogGroup(this, 'Connections', { retention: RETENTION });
    new CfnOutput(this, 'Log', { value: group.logGroupName }).overrideLogicalId('BastionLog');
    new FlowLog(this, 'Flow', {
      resourceType: FlowLogResourceType.fromSubnet(subnet),
      trafficType: FlowLogTrafficType.ALL,
      destination: FlowLogDestination.toCloudWatchLogs(group),
    });
  }

  /** They find the instance, forward a port through it, and end only sessions of their own. */
  private forOperators(roleName: string, operators: string, { instanceId }: Instance): void {
    const { account, region, stackName } = Stack.of(this);
    const stack = `arn:aws:cloudformation:${region}:${account}:stack/${stackName}/*`;
    const own = `arn:aws:ssm:${region}:${account}:session/\${aws:userid}-*`;
    const role = roleForAnother(this, 'Operators', {
      roleName,
      ...parsedRole(operators),
      statements: [
        new PolicyStatement({ actions: ['cloudformation:DescribeStacks'], resources: [stack] }),
        new PolicyStatement({
          actions: ['ssm:StartSession'],
          resources: [
            `arn:aws:ec2:${region}:${account}:instance/${instanceId}`,
            `arn:aws:ssm:${region}::document/${SESSION}`,
          ],
          // Without it, a request that names no document gets a shell.
          conditions: { BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } },
        }),
        new PolicyStatement({
          actions: ['ssm:ResumeSession', 'ssm:TerminateSession', 'ssmmessages:OpenDataChannel'],
          resources: [own],
        }),
      ],
    });
    Validations.of(role).acknowledge(
      {
        id: `AwsSolutions-IAM5[Resource::${own.replace('${aws:userid}', '<aws:userid>')}]`,
        reason: "Sessions of the one operator: their ids begin with the operator's, and end as AWS chooses.",
      },
      {
        id: `AwsSolutions-IAM5[Resource::${stack}]`,
        reason: 'The one stack of this name, with the id that it has at the time.',
      },
    );
  }
}
