/**
 * How networks of different accounts meet: a stack offers its load balancer as an endpoint service
 * to named accounts, and others, also of another Region, reach it under `<name>.wallet.internal`, by zone
 * under `<zone>.<name>.wallet.internal`. Nothing else is routed between accounts. Zones are meant by
 * name: accounts where the same name means different zones cannot be one deployment.
 */
import { CfnOutput, Duration, Fn, Stack } from 'aws-cdk-lib';
import { InterfaceVpcEndpoint, InterfaceVpcEndpointService, VpcEndpointService } from 'aws-cdk-lib/aws-ec2';
import type { CfnVPCEndpointService, SecurityGroup } from 'aws-cdk-lib/aws-ec2';
import { ArnPrincipal } from 'aws-cdk-lib/aws-iam';
import { CnameRecord, PrivateHostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import { portOf, rolesOf } from '../cell-roles.ts';
import type { AwsConfig, PrivateServices } from '../deployment-config.ts';
import { PRIVATE_DOMAIN } from '../names.ts';
import { placesOf, stackOf } from '../places.ts';
import { reachable } from './network.ts';
import type { Network } from './network.ts';
import type { ZonalService } from './zonal-service.ts';

/** How the second label of an endpoint's name begins. */
const SERVICE_ID = '.vpce-svc-';

/** What another stack offers. */
export interface Peer {
  /** Under which name it is reached. */
  readonly name: string;
  /** The stack, by which `privateServices` has its service. */
  readonly stack: string;
  /** Of its load balancer. */
  readonly ports: readonly number[];
  /** Zones in which it is asked for by itself. */
  readonly zones?: readonly string[];
}

/** The processes of all cells, in both Regions: what routers and control planes reach. */
export const everyCell = (config: AwsConfig): Peer[] =>
  config.cells.flatMap((cell) =>
    placesOf(config, cell).map((place) => {
      const stack = stackOf(cell.id, place);
      return { name: stack, stack, ports: rolesOf(cell).map(portOf), zones: place.zones };
    }),
  );

/** Lets these accounts connect, also from these other Regions. */
export function offer(scope: Construct, service: ZonalService, accounts: string[], regions: string[] = []): void {
  const offered = new VpcEndpointService(scope, 'Offered', {
    vpcEndpointServiceLoadBalancers: [service.balancer],
    acceptanceRequired: false,
    allowedPrincipals: accounts.map((account) => new ArnPrincipal(`arn:aws:iam::${account}:root`)),
  });
  // The construct has no property for it, and calls what it makes as itself.
  const made = offered.node.findChild('Offered') as CfnVPCEndpointService;
  if (regions.length > 0) made.supportedRegions = regions;
  new CfnOutput(scope, 'PrivateService', {
    value: offered.vpcEndpointServiceName,
    description: 'For privateServices in settings.json',
  }).overrideLogicalId('PrivateService');
}

export interface PrivateLinksProps {
  readonly network: Network;
  readonly services: PrivateServices;
  /** What to reach, where its service is known. */
  readonly wanted: readonly Peer[];
}

export class PrivateLinks extends Construct {
  constructor(scope: Construct, id: string, { network, services, wanted }: PrivateLinksProps) {
    super(scope, id);
    const zone = new PrivateHostedZone(this, 'Zone', { zoneName: PRIVATE_DOMAIN, vpc: network.vpc });
    // One for each port, not one for each peer: a stack has at most 500 resources, and there may be
    // many cells.
    const groups = new Map<number, SecurityGroup>();
    for (const { name, stack, ports, zones = [] } of wanted) {
      const service = services[stack];
      if (service === undefined) continue;
      const region = regionOf(service);
      const isElsewhere = region !== Stack.of(this).region;
      const securityGroups = ports.map((port) => {
        const group = groups.get(port) ?? reachable(this, `To-${port}`, network.vpc, port);
        groups.set(port, group);
        return group;
      });
      const endpoint = new InterfaceVpcEndpoint(this, name, {
        vpc: network.vpc,
        service: new InterfaceVpcEndpointService(service, ports[0]),
        ...(isElsewhere && { serviceRegion: region }),
        subnets: { subnetType: network.inside },
        privateDnsEnabled: false,
        securityGroups,
        open: false,
      });
      // The first entry is `<hosted zone>:<name>`, the name being the one for all zones.
      const everywhere = Fn.select(1, Fn.split(':', Fn.select(0, endpoint.vpcEndpointDnsEntries)));
      const record = (recordName: string, domainName: string) =>
        new CnameRecord(this, `At-${recordName}`, { zone, recordName, domainName, ttl: Duration.minutes(1) });
      record(name, everywhere);
      // An endpoint has a name for each zone of its own Region only. From another one, PrivateLink chooses the zone.
      for (const zone of zones) record(`${zone}.${name}`, isElsewhere ? everywhere : zonal(everywhere, zone));
    }
  }
}

/** `com.amazonaws.vpce.<region>.vpce-svc-…` */
const regionOf = (service: string) => service.split('.')[3]!;

/**
 * `vpce-0a-xy.vpce-svc-1.region.vpce.amazonaws.com` →
 * `vpce-0a-xy-<zone>.vpce-svc-1.region.vpce.amazonaws.com`.
 */
function zonal(everywhere: string, place: string): string {
  const parts = Fn.split(SERVICE_ID, everywhere);
  return Fn.join('', [Fn.select(0, parts), `-${place}${SERVICE_ID}`, Fn.select(1, parts)]);
}
