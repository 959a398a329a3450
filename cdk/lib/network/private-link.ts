/**
 * How networks of different accounts meet: a stack offers its load balancer as an endpoint service
 * to named accounts, and others reach it under `<name>.wallet.internal`, by zone under
 * `<zone>.<name>.wallet.internal`. Nothing else is routed between accounts. Zones are meant by
 * name: accounts where the same name means different zones cannot be one deployment.
 */
import { CfnOutput, Duration, Fn, Stack } from 'aws-cdk-lib';
import { InterfaceVpcEndpoint, InterfaceVpcEndpointService, VpcEndpointService } from 'aws-cdk-lib/aws-ec2';
import type { SecurityGroup } from 'aws-cdk-lib/aws-ec2';
import { ArnPrincipal } from 'aws-cdk-lib/aws-iam';
import { CnameRecord, PrivateHostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { PrivateServices } from '../deployment-config.ts';
import { PRIVATE_DOMAIN } from '../names.ts';
import { reachable } from './network.ts';
import type { Network } from './network.ts';
import type { ZonalService } from './zonal-service.ts';

/** How the second label of an endpoint's name begins. */
const SERVICE_ID = '.vpce-svc-';

/** Lets these accounts connect. */
export function offer(scope: Construct, service: ZonalService, accounts: string[]): void {
  const offered = new VpcEndpointService(scope, 'Offered', {
    vpcEndpointServiceLoadBalancers: [service.balancer],
    acceptanceRequired: false,
    allowedPrincipals: accounts.map((account) => new ArnPrincipal(`arn:aws:iam::${account}:root`)),
  });
  new CfnOutput(scope, 'PrivateService', {
    value: offered.vpcEndpointServiceName,
    description: 'For privateServices in settings.json',
  }).overrideLogicalId('PrivateService');
}

export interface PrivateLinksProps {
  readonly network: Network;
  readonly services: PrivateServices;
  /** Name and port of each peer to reach, where its service is known. */
  readonly wanted: readonly (readonly [name: string, port: number])[];
  /** Whether each zone's address is asked for by itself. */
  readonly byZone?: boolean;
}

export class PrivateLinks extends Construct {
  constructor(scope: Construct, id: string, { network, services, wanted, byZone = false }: PrivateLinksProps) {
    super(scope, id);
    const zone = new PrivateHostedZone(this, 'Zone', { zoneName: PRIVATE_DOMAIN, vpc: network.vpc });
    // One for each port, not one for each peer: a stack has at most 500 resources, and there may be
    // many cells.
    const groups = new Map<number, SecurityGroup>();
    for (const [name, port] of wanted) {
      const service = services[name];
      if (service === undefined) continue;
      const group = groups.get(port) ?? reachable(this, `To-${port}`, network.vpc, port);
      groups.set(port, group);
      const endpoint = new InterfaceVpcEndpoint(this, name, {
        vpc: network.vpc,
        service: new InterfaceVpcEndpointService(service, port),
        subnets: { subnetType: network.inside },
        privateDnsEnabled: false,
        securityGroups: [group],
        open: false,
      });
      // The first entry is `<hosted zone>:<name>`, the name being the one for all zones.
      const everywhere = Fn.select(1, Fn.split(':', Fn.select(0, endpoint.vpcEndpointDnsEntries)));
      const record = (recordName: string, domainName: string) =>
        new CnameRecord(this, `At-${recordName}`, { zone, recordName, domainName, ttl: Duration.minutes(1) });
      record(name, everywhere);
      if (!byZone) continue;
      for (const place of Stack.of(this).availabilityZones) {
        record(`${place}.${name}`, zonal(everywhere, place));
      }
    }
  }
}

/**
 * `vpce-0a-xy.vpce-svc-1.region.vpce.amazonaws.com` →
 * `vpce-0a-xy-<zone>.vpce-svc-1.region.vpce.amazonaws.com`.
 */
function zonal(everywhere: string, place: string): string {
  const parts = Fn.split(SERVICE_ID, everywhere);
  return Fn.join('', [Fn.select(0, parts), `-${place}${SERVICE_ID}`, Fn.select(1, parts)]);
}
