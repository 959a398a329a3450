/**
 * Routers in every zone, each zone with an address of its own behind one name, and a door inside
 * for the cells.
 */
import { Fn, Validations } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import { Peer, Port, SubnetType } from 'aws-cdk-lib/aws-ec2';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { Cluster } from './cluster.ts';
import type { AwsConfig, Settings } from './deployment-config.ts';
import { PORTS, controlPlaneRole, targetsOf, zonesRole } from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, everyCell, offer } from './network/private-link.ts';
import { home } from './places.ts';
import { ProcessLogs } from './process-logs.ts';
import { roleForAnother } from './roles.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';
import { ZoneRecords } from './network/zone-records.ts';

export class RouterStack extends ZonedStack {
  /** By zone, then the one inside. */
  readonly services: ZonalService[] = [];
  readonly watched: Watched;

  constructor(scope: Construct, id: string, settings: Settings, props: StackProps) {
    const { alerts, config, privateServices } = settings;
    const { aws, cells, deployment } = config;
    const place = home(config);
    const description = `Routers of ${deployment.name}`;
    super(scope, id, config, { account: aws.router_account, part: 'router', place }, { ...props, description });
    const network = new Network(this, 'Network', deployment.zones.length, { isPublic: true });
    const cluster = new Cluster(this, 'Cluster', settings, 'router', network);
    cluster.collector('router', network);
    new ProcessLogs(this, 'Logs', 'router', 'router', cluster);
    const topics = new Topics(this, 'Topics', 'router', alerts);
    topics.publishedFrom(network, cluster);
    const alarms = new Alarms(this, 'Alarms', 'router', topics);

    // The load balancers keep the clients' addresses, so it is these that reach the pods.
    cluster.securityGroup.connections.allowFrom(
      Peer.anyIpv4(),
      Port.tcp(PORTS.public),
      'clients, past the load balancers',
    );
    Validations.of(cluster).acknowledge({
      id: 'AwsSolutions-EC23',
      reason: 'Clients keep their addresses on the way to the public port, for the audit of what they do.',
    });
    const records = new ZoneRecords(this, 'Name', aws.domain);
    const outside = network.vpc.selectSubnets({ subnetType: SubnetType.PUBLIC }).subnets;
    deployment.zones.forEach((place, at) => {
      const subnet = outside[at];
      if (subnet?.availabilityZone !== place) throw new Error(`no public subnet in ${place}`);
      const service = new ZonalService(this, `Public-${place}`, {
        network,
        cluster,
        listen: 443,
        target: PORTS.public,
        subnets: [subnet],
        isPublic: true,
        output: targetsOf(place),
      });
      records.add(place, service);
      service.watch(alarms, `public-${place}`);
      this.services.push(service);
    });
    const inside = new ZonalService(this, 'Internal', {
      network,
      cluster,
      listen: PORTS.internal,
      target: PORTS.internal,
      output: 'InternalTargets',
    });
    inside.watch(alarms, 'internal');
    this.services.push(inside);
    offer(
      this,
      inside,
      cells.map((cell) => cell.account),
    );
    new PrivateLinks(this, 'Reaches', {
      network,
      services: privateServices,
      wanted: [{ name: 'control-plane', stack: 'control-plane', port: PORTS.controlPlane }, ...everyCell(config)],
    });
    this.evacuator(config, records);
    ownAlarms(alarms);
    this.watched = alarms.unwell();
  }

  /**
   * What the control plane may do to leave a zone: flip its switches, and set the weights of this
   * one name.
   */
  private evacuator(config: AwsConfig, { zone, switches }: ZoneRecords): void {
    roleForAnother(this, 'Zones', {
      roleName: zonesRole(config),
      account: config.aws.control_plane_account,
      trusted: controlPlaneRole(config),
      statements: [
        new PolicyStatement({
          actions: ['route53:GetHealthCheck', 'route53:UpdateHealthCheck'],
          resources: switches.map((one) => Fn.join('', ['arn:aws:route53:::healthcheck/', one.attrHealthCheckId])),
        }),
        new PolicyStatement({ actions: ['route53:ListResourceRecordSets'], resources: [zone.hostedZoneArn] }),
        new PolicyStatement({
          actions: ['route53:ChangeResourceRecordSets'],
          resources: [zone.hostedZoneArn],
          conditions: {
            'ForAllValues:StringEquals': {
              'route53:ChangeResourceRecordSetsNormalizedRecordNames': [config.aws.domain],
              'route53:ChangeResourceRecordSetsRecordTypes': ['A'],
              'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
            },
          },
        }),
      ],
    });
  }
}

function ownAlarms(alarms: Alarms): void {
  const of = { component: 'router' };
  alarms.own('placement-refused', 'router_placement_refused_total', of, 'Sum', {
    above: 0,
    minutes: 1,
    why: 'A placement was published that routers do not take',
  });
  alarms.own('placement-old', 'router_control_plane_silence_seconds', of, 'Maximum', {
    above: 300,
    minutes: 1,
    why: 'Routers have heard nothing of the control plane for five minutes; they serve from what they know',
    silence: 'unknown',
  });
  alarms.own('server-errors', 'router_requests_total', of, 'Sum', {
    above: 10,
    minutes: 2,
    why: 'More than ten requests a minute are answered with 5xx (the collector counts only these)',
  });
}
