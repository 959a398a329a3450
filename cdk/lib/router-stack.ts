/**
 * Routers in every zone of a Region, each zone with an address of its own behind one name, and a
 * door inside for the cells of that Region.
 */
import { CfnOutput, Validations } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import { Peer, Port, SubnetType } from 'aws-cdk-lib/aws-ec2';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { PublicHostedZone } from 'aws-cdk-lib/aws-route53';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { Cluster } from './cluster.ts';
import type { AwsConfig, Settings } from './deployment-config.ts';
import { PORTS, VERSIONS_GROUP, targetsOf, versionsRole, zonesRole } from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, everyCell, offer } from './network/private-link.ts';
import { controlPlaneRoles, places, stackOf } from './places.ts';
import type { Place } from './places.ts';
import { ProcessLogs } from './process-logs.ts';
import { alsoForRole, roleForAnother } from './roles.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';
import { ZoneRecords } from './network/zone-records.ts';

export class RouterStack extends ZonedStack {
  /** By zone, then the one inside. */
  readonly services: ZonalService[] = [];
  readonly watched: Watched;

  constructor(scope: Construct, settings: Settings, place: Place, props: StackProps) {
    const { alerts, config, privateServices } = settings;
    const { aws, deployment } = config;
    const stack = stackOf('router', place);
    const description = place.isHome ? `Routers of ${deployment.name}` : `Routers of ${deployment.name}, second Region`;
    super(scope, stack, config, { account: aws.router_account, part: 'router', place }, { ...props, description });
    const network = new Network(this, 'Network', place.zones.length, { isPublic: true });
    const cluster = new Cluster(this, 'Cluster', settings, stack, network);
    cluster.collector(stack, network);
    new ProcessLogs(this, 'Logs', stack, 'router', cluster);
    const topics = new Topics(this, 'Topics', stack, alerts);
    topics.publishedFrom(network, cluster);
    const alarms = new Alarms(this, 'Alarms', stack, topics);

    this.outside(settings, place, network, cluster, alarms);
    const inside = new ZonalService(this, 'Internal', {
      network,
      cluster,
      listen: PORTS.internal,
      target: PORTS.internal,
      output: 'InternalTargets',
      // What the control plane compares versions by. The processes let no cell in there.
      ...(place.isHome && { also: { listen: PORTS.admin, target: PORTS.admin, output: 'AdminTargets' } }),
    });
    inside.watch(alarms, 'internal');
    this.services.push(inside);
    const accounts = config.cells.filter(({ standby }) => place.isHome || standby).map(({ account }) => account);
    offer(this, inside, place.isHome ? [...accounts, aws.control_plane_account] : accounts);
    new PrivateLinks(this, 'Reaches', {
      network,
      services: privateServices,
      wanted: [
        ...places(config).map((one) => {
          const stack = stackOf('control-plane', one);
          return { name: stack, stack, ports: [PORTS.controlPlane] };
        }),
        ...everyCell(config),
      ],
    });
    if (place.isHome) {
      const versions = {
        roleName: versionsRole(config, stack),
        account: aws.control_plane_account,
        trusted: controlPlaneRoles(config),
        statements: [],
      };
      cluster.admit('VersionsAccess', roleForAnother(this, 'Versions', versions), VERSIONS_GROUP);
    }
    ownAlarms(alarms);
    this.watched = alarms.unwell();
  }

  /** A load balancer for clients in each zone, and the name under which they find it. */
  private outside(settings: Settings, place: Place, network: Network, cluster: Cluster, alarms: Alarms): void {
    const { config, hostedZone } = settings;
    const { domain } = config.aws;
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
    const zone = place.isHome ? this.hostedZone(domain) : undefined;
    const records = new ZoneRecords(this, 'Name', {
      domain,
      hostedZoneId: zone?.hostedZoneId ?? hostedZone,
      weight: place.isHome ? 'home' : 'second',
    });
    const subnets = network.vpc.selectSubnets({ subnetType: SubnetType.PUBLIC }).subnets;
    place.zones.forEach((name, at) => {
      const subnet = subnets[at];
      if (subnet?.availabilityZone !== name) throw new Error(`no public subnet in ${name}`);
      const service = new ZonalService(this, `Public-${name}`, {
        network,
        cluster,
        listen: 443,
        target: PORTS.public,
        subnets: [subnet],
        isPublic: true,
        output: targetsOf(name),
      });
      records.add(name, service);
      service.watch(alarms, `public-${name}`);
      this.services.push(service);
    });
    if (zone) this.evacuator(config, zone, records);
    // The control plane has one role to leave zones, wherever they are.
    else alsoForRole(this, 'Zones', zonesRole(config), [flipping(records)]);
  }

  /** It outlives the Region, as all of Route 53 does. */
  private hostedZone(domain: string): PublicHostedZone {
    const zone = new PublicHostedZone(this, 'Zone', { zoneName: domain });
    new CfnOutput(this, 'HostedZone', {
      value: zone.hostedZoneId,
      description: 'For hostedZone in settings.json',
    }).overrideLogicalId('HostedZone');
    return zone;
  }

  /**
   * What the control plane may do to leave a zone: flip its switches, and set the weights of this
   * one name.
   */
  private evacuator(config: AwsConfig, zone: PublicHostedZone, records: ZoneRecords): void {
    roleForAnother(this, 'Zones', {
      roleName: zonesRole(config),
      account: config.aws.control_plane_account,
      trusted: controlPlaneRoles(config),
      statements: [
        flipping(records),
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

const flipping = ({ switchArns }: ZoneRecords) =>
  new PolicyStatement({ actions: ['route53:GetHealthCheck', 'route53:UpdateHealthCheck'], resources: switchArns });

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
