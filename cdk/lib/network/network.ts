/**
 * A network of its own for each stack: isolated subnets in every zone, from which nothing but the AWS services below
 * can be reached; others only where they are asked for. Networks meet through PrivateLink alone (private-link.ts), so
 * all may have the same addresses.
 */
import {
  FlowLogTrafficType,
  GatewayVpcEndpointAwsService,
  InterfaceVpcEndpointAwsService,
  InterfaceVpcEndpointService,
  IpAddresses,
  Peer,
  Port,
  SecurityGroup,
  SubnetType,
  Vpc,
} from 'aws-cdk-lib/aws-ec2';
import type { IVpc, SubnetConfiguration } from 'aws-cdk-lib/aws-ec2';
import { AnyPrincipal, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IRole } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { VPC_CIDR } from './addresses.ts';

/** What nodes of a private EKS cluster and the processes on them call. */
const SERVICES = {
  Ec2: InterfaceVpcEndpointAwsService.EC2,
  EcrApi: InterfaceVpcEndpointAwsService.ECR,
  EcrImages: InterfaceVpcEndpointAwsService.ECR_DOCKER,
  Sts: InterfaceVpcEndpointAwsService.STS,
  Eks: InterfaceVpcEndpointAwsService.EKS,
  EksAuth: InterfaceVpcEndpointAwsService.EKS_AUTH,
  LoadBalancers: InterfaceVpcEndpointAwsService.ELASTIC_LOAD_BALANCING,
  Logs: InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
};

/** The gateway endpoint of DynamoDB serves its tables alone. */
const STREAMS = { Streams: InterfaceVpcEndpointAwsService.DYNAMODB_STREAMS };

export interface NetworkProps {
  /** Whether there are load balancers that the internet can reach. */
  readonly isPublic?: boolean;
  /** Whether processes may call out, through a NAT gateway in each zone. */
  readonly callsOut?: boolean;
  /** Whether processes follow the change streams of tables. */
  readonly followsTables?: boolean;
  /** Another Region, with buckets that processes use: the gateway endpoint of S3 serves those of its own alone. */
  readonly bucketsIn?: string;
}

export interface OneUse {
  readonly actions: string[];
  readonly resources: string[];
  readonly role: IRole;
}

export class Network extends Construct {
  readonly vpc: Vpc;
  /** Where processes run. */
  readonly inside: SubnetType;
  private readonly endpoints: SecurityGroup;

  constructor(
    scope: Construct,
    id: string,
    zones: number,
    { isPublic = false, callsOut = false, followsTables = false, bucketsIn }: NetworkProps = {},
  ) {
    super(scope, id);
    this.inside = callsOut ? SubnetType.PRIVATE_WITH_EGRESS : SubnetType.PRIVATE_ISOLATED;
    const subnets: SubnetConfiguration[] = [{ name: 'inside', subnetType: this.inside, cidrMask: 20 }];
    if (isPublic || callsOut)
      subnets.push({ name: 'public', subnetType: SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false });
    this.vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr(VPC_CIDR),
      maxAzs: zones,
      natGateways: callsOut ? zones : 0,
      subnetConfiguration: subnets,
      restrictDefaultSecurityGroup: false,
      gatewayEndpoints: {
        DynamoDb: { service: GatewayVpcEndpointAwsService.DYNAMODB },
        S3: { service: GatewayVpcEndpointAwsService.S3 },
      },
    });
    this.vpc.addFlowLog('Rejected', { trafficType: FlowLogTrafficType.REJECT });
    this.endpoints = reachable(this, 'Endpoints', this.vpc, 443);
    const group = this.endpoints;
    for (const [name, service] of Object.entries({ ...SERVICES, ...(followsTables && STREAMS) })) {
      this.vpc.addInterfaceEndpoint(name, {
        service,
        subnets: { subnetType: this.inside },
        securityGroups: [group],
        open: false,
      });
    }
    if (bucketsIn === undefined) return;
    this.vpc.addInterfaceEndpoint('BucketsElsewhere', {
      service: new InterfaceVpcEndpointService(`com.amazonaws.${bucketsIn}.s3`),
      serviceRegion: bucketsIn,
      subnets: { subnetType: this.inside },
      securityGroups: [group],
      privateDnsEnabled: true,
      open: false,
    });
  }

  /** One more service of AWS, to which the network carries nothing but this use of it, by this role. */
  reach(name: string, service: InterfaceVpcEndpointAwsService, { actions, resources, role }: OneUse): void {
    const endpoint = this.vpc.addInterfaceEndpoint(name, {
      service,
      subnets: { subnetType: this.inside },
      securityGroups: [this.endpoints],
      open: false,
    });
    endpoint.addToPolicy(
      new PolicyStatement({
        principals: [new AnyPrincipal()],
        actions,
        resources,
        conditions: { ArnEquals: { 'aws:PrincipalArn': role.roleArn } },
      }),
    );
  }
}

/** A security group for what every address in the network may reach, and no other. */
export function reachable(scope: Construct, id: string, vpc: IVpc, port: number): SecurityGroup {
  const group = new SecurityGroup(scope, id, {
    vpc,
    allowAllOutbound: false,
    description: `Port ${port}, from inside`,
  });
  group.addIngressRule(Peer.ipv4(VPC_CIDR), Port.tcp(port), 'the network itself');
  return group;
}
