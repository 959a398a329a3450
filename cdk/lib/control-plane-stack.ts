/**
 * The control plane in one Region, the images, and what it may do in the accounts of others. In a
 * second Region it waits for an operator to start it. No request of a customer passes here.
 */
import { Validations } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import { ManagedPolicy, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { byControlPlane, ownPartOnly, statements } from './archive-uses.ts';
import { Bastion } from './bastion.ts';
import { Cluster } from './cluster.ts';
import { CopiedTables } from './copied-tables.ts';
import type { AwsConfig, Settings } from './deployment-config.ts';
import { DurableTables } from './durable-tables.ts';
import { copied, repositories } from './images.ts';
import {
  COPIES_KEY,
  PORTS,
  controlPlaneRole,
  fenceRole,
  roleArn,
  tablesRole,
  versionsRole,
  zonesRole,
} from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, everyCell, offer } from './network/private-link.ts';
import { controlPlaneRoles, others, places, placesOf, stackOf } from './places.ts';
import type { Place } from './places.ts';
import { ProcessLogs } from './process-logs.ts';
import { parsedRole, roleForAnother } from './roles.ts';
import { CONTROL_PLANE_TABLES } from './table-shapes.ts';
import { OWN_OF_CONTROL_PLANE } from './table-uses.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';

/** Of AWS, in every account. */
const DENIES_ALL = 'arn:aws:iam::aws:policy/AWSDenyAll';

export class ControlPlaneStack extends ZonedStack {
  readonly service: ZonalService;
  readonly watched: Watched;

  constructor(scope: Construct, settings: Settings, place: Place, props: StackProps) {
    const { alerts, bastion, config, operators, privateServices } = settings;
    const { aws, deployment } = config;
    const stack = stackOf('control-plane', place);
    const description = `Control plane of ${deployment.name}${place.isHome ? '' : ', which waits in the second Region'}`;
    super(
      scope,
      stack,
      config,
      { account: aws.control_plane_account, part: 'control-plane', place },
      { ...props, description },
    );
    const tables = this.tables(config, place);
    const network = new Network(this, 'Network', place.zones.length, { callsOut: true });
    const cluster = new Cluster(this, 'Cluster', settings, stack, network);
    this.identity(config, stack, cluster, tables);
    cluster.collector(stack, network);
    new ProcessLogs(this, 'Logs', stack, 'control-plane', cluster);

    this.service = new ZonalService(this, 'Service', {
      network,
      cluster,
      listen: PORTS.controlPlane,
      target: PORTS.controlPlane,
      output: 'ControlPlaneTargets',
    });
    offer(this, this.service, [aws.router_account], others(config, place));
    // Those at home: no version is brought to the routers of a second Region by themselves.
    const routers = { name: 'router', stack: 'router', ports: [PORTS.admin], zones: place.zones };
    const wanted = [...(place.isHome ? [routers] : []), ...everyCell(config)];
    new PrivateLinks(this, 'Reaches', { network, services: privateServices, wanted });

    if (bastion && operators !== undefined)
      new Bastion(this, 'Bastion', { config, place, vpc: network.vpc, service: this.service, operators });
    if (place.isHome && places(config).length > 1 && operators !== undefined) this.fence(config, operators);

    const topics = new Topics(this, 'Topics', stack, alerts);
    topics.publishedFrom(network, cluster);
    const alarms = new Alarms(this, 'Alarms', stack, topics);
    alarms.tables(tables);
    if (place.isHome) for (const region of others(config, place)) alarms.copies(tables, region);
    // In the second Region, none runs before an operator starts it.
    if (place.isHome) this.service.watch(alarms, 'control-plane');
    ownAlarms(alarms);
    this.watched = alarms.unwell();
  }

  /** At home they are made, and what is copied from them. */
  private tables(config: AwsConfig, place: Place): DurableTables | CopiedTables {
    if (!place.isHome) return new CopiedTables(this, 'Tables', CONTROL_PLANE_TABLES, 'control-');
    const [region] = others(config, place);
    repositories(this, config);
    copied(this, config, others(config, place));
    const copies = region === undefined ? undefined : { region, alias: COPIES_KEY };
    return new DurableTables(this, 'Tables', CONTROL_PLANE_TABLES, 'control-', copies);
  }

  /** What its processes may do. */
  private identity(config: AwsConfig, stack: string, cluster: Cluster, tables: DurableTables | CopiedTables): void {
    const { aws, cells } = config;
    const elsewhere = [
      ...cells.flatMap((cell) => [
        roleArn(cell.account, tablesRole(config, cell.id)),
        ...placesOf(config, cell).map((one) => roleArn(cell.account, versionsRole(config, stackOf(cell.id, one)))),
      ]),
      ...[zonesRole(config), versionsRole(config, 'router')].map((name) => roleArn(aws.router_account, name)),
    ];
    const archived = byControlPlane(config);
    const role = cluster.identity(
      'control-plane',
      [
        ...tables.statements(OWN_OF_CONTROL_PLANE),
        new PolicyStatement({ actions: ['sts:AssumeRole'], resources: elsewhere }),
        ...statements(archived),
      ],
      { roleName: controlPlaneRole(config, stack) },
    );
    ownPartOnly(role, archived);
    if (!(tables instanceof CopiedTables)) return;
    tables.acknowledge(role);
    // Until an operator takes the policy away: one that is started by mistake can do nothing.
    role.addManagedPolicy(ManagedPolicy.fromManagedPolicyArn(this, 'Waits', DENIES_ALL));
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM4[Policy::arn:aws:iam::aws:policy/AWSDenyAll]',
      reason: 'It denies everything.',
    });
  }

  /**
   * Two control planes over tables that are copied later would undo each other's work. So operators
   * can take all rights from the one that is left, also where it cannot be reached: by a policy of
   * AWS that denies everything, and by no other.
   */
  private fence(config: AwsConfig, operators: string): void {
    const { account } = this;
    roleForAnother(this, 'Fence', {
      roleName: fenceRole(config),
      ...parsedRole(operators),
      statements: [
        new PolicyStatement({
          actions: ['iam:AttachRolePolicy', 'iam:DetachRolePolicy'],
          resources: controlPlaneRoles(config).map((role) => roleArn(account, role)),
          conditions: { ArnEquals: { 'iam:PolicyARN': DENIES_ALL } },
        }),
      ],
    });
  }
}

function ownAlarms(alarms: Alarms): void {
  const of = { component: 'control-plane' };
  alarms.own('checkpoint-violations', 'control_plane_checkpoint_violations_total', of, 'Sum', {
    above: 0,
    minutes: 1,
    why: 'A cell has shown another past than before',
  });
  alarms.own('server-errors', 'control_plane_requests_total', of, 'Sum', {
    above: 10,
    minutes: 2,
    why: 'More than ten requests a minute are answered with 5xx (the collector counts only these)',
  });
}
