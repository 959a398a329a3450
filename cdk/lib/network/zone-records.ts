/**
 * The name that clients use, once for each zone, with equal weights at home. Those of a second Region have weight 0: Route 53
 * answers with them only while no zone at home is healthy. A zone is in the answer while two health checks say so: one that Route 53 makes itself, and a switch, healthy until it is inverted:
 *
 *   aws route53 update-health-check --health-check-id ID --inverted
 *
 * To leave a zone, no record has to be edited. With every zone of both Regions unhealthy Route 53 answers as if
 * none were.
 */
import { CfnOutput, Fn } from 'aws-cdk-lib';
import { CfnHealthCheck, CfnRecordSet } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { ZonalService } from './zonal-service.ts';

const WEIGHT = { home: 100, second: 0 };
/** Without authentication, small, and answered by the router itself. */
const PROBED_PATH = '/openapi.yaml';

export class ZoneRecords extends Construct {
  readonly switches: CfnHealthCheck[] = [];

  constructor(
    scope: Construct,
    id: string,
    private readonly props: {
      readonly domain: string;
      /** Absent until it is known: there are checks then, and no record. */
      readonly hostedZoneId: string | undefined;
      readonly weight: keyof typeof WEIGHT;
    },
  ) {
    super(scope, id);
  }

  /** By which each zone can be left. */
  get switchArns(): string[] {
    return this.switches.map((one) => Fn.join('', ['arn:aws:route53:::healthcheck/', one.attrHealthCheckId]));
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
    const { domain, hostedZoneId, weight } = this.props;
    if (hostedZoneId !== undefined) {
      new CfnRecordSet(this, `Record-${place}`, {
        hostedZoneId,
        name: domain,
        type: 'A',
        setIdentifier: place,
        weight: WEIGHT[weight],
        healthCheckId: both.attrHealthCheckId,
        aliasTarget: {
          dnsName: balancer.loadBalancerDnsName,
          hostedZoneId: balancer.loadBalancerCanonicalHostedZoneId,
          evaluateTargetHealth: true,
        },
      });
    }
    this.switches.push(wanted);
    new CfnOutput(this, `Switch-${place}`, {
      value: wanted.attrHealthCheckId,
      description: `Inverted, ${place} is left`,
    });
  }
}

const named = (name: string) => [{ key: 'Name', value: name }];
