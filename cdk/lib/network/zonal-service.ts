/**
 * A load balancer before the processes of a stack: TCP, since TLS ends in the processes. What comes
 * to a zone stays in it (cross-zone is off), so a zone can be left without the others noticing.
 * kubernetes/ binds the pods to its target group.
 */
import { CfnOutput, Duration, Tags, Validations } from 'aws-cdk-lib';
import { Peer, Port, SecurityGroup } from 'aws-cdk-lib/aws-ec2';
import type { IPeer, ISubnet } from 'aws-cdk-lib/aws-ec2';
import { NetworkLoadBalancer, NetworkTargetGroup, Protocol, TargetType } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import { Construct } from 'constructs';
import { VPC_CIDR } from './addresses.ts';
import type { Alarms } from '../alarms.ts';
import type { Cluster } from '../cluster.ts';
import type { Network } from './network.ts';

/**
 * Longer than a process drains, shorter than the grace that its pod has
 * (kubernetes/lib/workload.ts).
 */
const DEREGISTRATION = Duration.seconds(30);

export interface Door {
  readonly listen: number;
  readonly target: number;
  /** Under which name the target group's ARN is among the stack's outputs. */
  readonly output: string;
}

export interface ZonalServiceProps extends Door {
  readonly network: Network;
  /** The cluster with the pods that it serves. */
  readonly cluster: Cluster;
  /** A second port: of the same processes, or of others with the same callers. */
  readonly also?: Door;
  /** Default: all zones of the network, inside. */
  readonly subnets?: ISubnet[];
  /** Reached from the internet; then the processes see the clients' own addresses. */
  readonly isPublic?: boolean;
}

export class ZonalService extends Construct {
  readonly balancer: NetworkLoadBalancer;
  /** Of each door. */
  private readonly targets: NetworkTargetGroup[];
  /** Of each door. */
  readonly targetGroupArns: CfnOutput[];

  constructor(scope: Construct, id: string, props: ZonalServiceProps) {
    super(scope, id);
    const {
      network: { vpc, inside },
      cluster,
      isPublic = false,
    } = props;
    const from: IPeer = isPublic ? Peer.anyIpv4() : Peer.ipv4(VPC_CIDR);
    const group = new SecurityGroup(this, 'Group', {
      vpc,
      allowAllOutbound: false,
      description: `To port ${props.listen}`,
    });
    const doors: Door[] = [props, ...(props.also ? [props.also] : [])];
    for (const { listen, target } of doors) {
      group.addIngressRule(from, Port.tcp(listen), 'who may ask');
      group.addEgressRule(Peer.ipv4(VPC_CIDR), Port.tcp(target), 'the processes');
      cluster.securityGroup.connections.allowFrom(group, Port.tcp(target), 'the load balancer');
    }
    this.balancer = new NetworkLoadBalancer(this, 'Balancer', {
      vpc,
      vpcSubnets: props.subnets ? { subnets: props.subnets } : { subnetType: inside },
      internetFacing: isPublic,
      crossZoneEnabled: false,
      // In a single zone there is nothing to shift to; DNS leaves it instead.
      zonalShift: props.subnets?.length === 1 ? undefined : true,
      deletionProtection: true,
      securityGroups: [group],
      // The endpoint service has already admitted what comes through PrivateLink.
      enforceSecurityGroupInboundRulesOnPrivateLinkTraffic: false,
    });
    this.targets = doors.map((door, at) => this.targetsOf(door, at === 0 ? '' : String(at + 1), props));
    this.targetGroupArns = this.targets.map(({ targetGroupArn }, at) => {
      const output = new CfnOutput(this, at === 0 ? 'TargetGroupArn' : `TargetGroupArn${at + 1}`, {
        value: targetGroupArn,
      });
      output.overrideLogicalId(doors[at]!.output);
      return output;
    });
    Validations.of(this.balancer).acknowledge({
      id: 'AwsSolutions-ELB2',
      reason: 'A TCP listener logs no accesses; routers and cells count and log their own.',
    });
    if (isPublic) {
      Validations.of(group).acknowledge({
        id: 'AwsSolutions-EC23',
        reason: 'The address that customers have; the router asks for tokens and limits rates.',
      });
    }
  }

  /** The target group of a door, behind a listener of its own. */
  private targetsOf({ listen, target }: Door, suffix: string, props: ZonalServiceProps): NetworkTargetGroup {
    const { network, cluster, isPublic = false } = props;
    const targets = new NetworkTargetGroup(this, `Targets${suffix}`, {
      vpc: network.vpc,
      targetType: TargetType.IP,
      port: target,
      protocol: Protocol.TCP,
      crossZoneEnabled: false,
      preserveClientIp: isPublic,
      deregistrationDelay: DEREGISTRATION,
      // The port asks for a client's certificate: that it is open is what can be seen from here.
      // Whether a process is ready Kubernetes knows, which takes it out of the group where it is
      // not.
      healthCheck: {
        protocol: Protocol.TCP,
        interval: Duration.seconds(10),
        healthyThresholdCount: 2,
        unhealthyThresholdCount: 2,
      },
    });
    // EKS Auto Mode registers pods only with target groups of its own cluster.
    Tags.of(targets).add('eks:eks-cluster-name', cluster.clusterName);
    this.balancer.addListener(`Listener${suffix}`, {
      port: listen,
      protocol: Protocol.TCP,
      defaultTargetGroups: [targets],
    });
    return targets;
  }

  /** Fewer than one process in service anywhere is unwell; so is one that stays out of it. */
  watch(alarms: Alarms, name: string, door = 0): void {
    const { metrics } = this.targets[door]!;
    alarms.add(
      `${name}-none-in-service`,
      metrics.healthyHostCount({ statistic: 'Minimum', period: Duration.minutes(1) }),
      { below: 1, minutes: 2, silence: 'unwell', why: `No process behind the load balancer of ${name}` },
    );
    alarms.add(`${name}-unhealthy`, metrics.unHealthyHostCount({ statistic: 'Maximum', period: Duration.minutes(1) }), {
      above: 0,
      minutes: 5,
      why: `A process of ${name} has not answered for five minutes`,
    });
  }
}
