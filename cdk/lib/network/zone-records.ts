/**
 * The name that clients use, once for each zone, with equal weights. A zone is in the answer while two health checks
 * say so: one that Route 53 makes itself, and a switch, healthy until it is inverted:
 *
 *   aws route53 update-health-check --health-check-id ID --inverted
 *
 * To leave a zone, no record has to be edited. With every zone unhealthy Route 53 answers with all of them.
 */
import { CfnOutput } from 'aws-cdk-lib';
import { CfnHealthCheck, CfnRecordSet, PublicHostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { ZonalService } from './zonal-service.ts';

const WEIGHT = 100;
/** Without authentication, small, and answered by the router itself. */
const PROBED_PATH = '/openapi.yaml';

export class ZoneRecords extends Construct {
  readonly zone: PublicHostedZone;
  readonly switches: CfnHealthCheck[] = [];

  constructor(scope: Construct, id: string, domain: string) {
    super(scope, id);
    this.zone = new PublicHostedZone(this, 'Zone', { zoneName: domain });
  }

  add(place: string, { balancer }: ZonalService): void {
    const answers = new CfnHealthCheck(this, `Answers-${place}`, {
      healthCheckConfig: {
        type: 'HTTPS',
        fullyQualifiedDomainName: balancer.loadBalancerDnsName,
        port: 443,
        resourcePath: PROBED_PATH,
        requestInterval: 10,
        failureThreshold: 3,
      },
      healthCheckTags: named(`${place}: answers`),
    });
    // Of one check none has to be healthy: always so, until it is inverted.
    const wanted = new CfnHealthCheck(this, `Wanted-${place}`, {
      healthCheckConfig: {
        type: 'CALCULATED',
        childHealthChecks: [answers.attrHealthCheckId],
        healthThreshold: 0,
        inverted: false,
      },
      healthCheckTags: named(`${place}: switch`),
    });
    const both = new CfnHealthCheck(this, `Both-${place}`, {
      healthCheckConfig: {
        type: 'CALCULATED',
        childHealthChecks: [answers.attrHealthCheckId, wanted.attrHealthCheckId],
        healthThreshold: 2,
      },
      healthCheckTags: named(place),
    });
    new CfnRecordSet(this, `Record-${place}`, {
      hostedZoneId: this.zone.hostedZoneId,
      name: this.zone.zoneName,
      type: 'A',
      setIdentifier: place,
      weight: WEIGHT,
      healthCheckId: both.attrHealthCheckId,
      aliasTarget: {
        dnsName: balancer.loadBalancerDnsName,
        hostedZoneId: balancer.loadBalancerCanonicalHostedZoneId,
        evaluateTargetHealth: true,
      },
    });
    this.switches.push(wanted);
    new CfnOutput(this, `Switch-${place}`, {
      value: wanted.attrHealthCheckId,
      description: `Inverted, ${place} is left`,
    });
  }
}

const named = (name: string) => [{ key: 'Name', value: name }];
