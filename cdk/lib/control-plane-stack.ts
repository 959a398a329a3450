/**
 * The control plane, the images, and what it may do in the accounts of others. No request of a
 * customer passes here.
 */
import type { StackProps } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { byControlPlane, ownPartOnly, statements } from './archive-uses.ts';
import { Bastion } from './bastion.ts';
import { Cluster } from './cluster.ts';
import type { Settings } from './deployment-config.ts';
import { DurableTables } from './durable-tables.ts';
import { copied, repositories } from './images.ts';
import { PORTS, controlPlaneRole, roleArn, tablesRole, versionsRole, zonesRole } from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, everyCell, offer } from './network/private-link.ts';
import { home, others, placesOf, stackOf } from './places.ts';
import { ProcessLogs } from './process-logs.ts';
import { CONTROL_PLANE_TABLES } from './table-shapes.ts';
import { OWN_OF_CONTROL_PLANE } from './table-uses.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';

export class ControlPlaneStack extends ZonedStack {
  readonly service: ZonalService;
  readonly watched: Watched;

  constructor(scope: Construct, id: string, settings: Settings, props: StackProps) {
    const { alerts, bastion, config, operators, privateServices } = settings;
    const { aws, cells, deployment } = config;
    const place = home(config);
    const description = `Control plane of ${deployment.name}`;
    super(
      scope,
      id,
      config,
      { account: aws.control_plane_account, part: 'control-plane', place },
      { ...props, description },
    );
    repositories(this, config);
    copied(this, config, others(config, place));

    const tables = new DurableTables(this, 'Tables', CONTROL_PLANE_TABLES, 'control-');
    const network = new Network(this, 'Network', deployment.zones.length, { callsOut: true });
    const cluster = new Cluster(this, 'Cluster', settings, 'control-plane', network);
    const elsewhere = [
      ...cells.flatMap((cell) => [
        roleArn(cell.account, tablesRole(config, cell.id)),
        ...placesOf(config, cell).map((one) => roleArn(cell.account, versionsRole(config, stackOf(cell.id, one)))),
      ]),
      roleArn(aws.router_account, zonesRole(config)),
    ];
    const archived = byControlPlane(config);
    const role = cluster.identity(
      'control-plane',
      [
        ...tables.statements(OWN_OF_CONTROL_PLANE),
        new PolicyStatement({ actions: ['sts:AssumeRole'], resources: elsewhere }),
        ...statements(archived),
      ],
      { roleName: controlPlaneRole(config) },
    );
    ownPartOnly(role, archived);
    cluster.collector('control-plane', network);
    new ProcessLogs(this, 'Logs', 'control-plane', 'control-plane', cluster);

    this.service = new ZonalService(this, 'Service', {
      network,
      cluster,
      listen: PORTS.controlPlane,
      target: PORTS.controlPlane,
      output: 'ControlPlaneTargets',
    });
    offer(this, this.service, [aws.router_account], others(config, place));
    new PrivateLinks(this, 'Reaches', { network, services: privateServices, wanted: everyCell(config) });

    if (bastion && operators !== undefined)
      new Bastion(this, 'Bastion', { config, vpc: network.vpc, service: this.service, operators });

    const topics = new Topics(this, 'Topics', 'control-plane', alerts);
    topics.publishedFrom(network, cluster);
    const alarms = new Alarms(this, 'Alarms', 'control-plane', topics);
    alarms.tables(tables);
    this.service.watch(alarms, 'control-plane');
    alarms.own(
      'checkpoint-violations',
      'control_plane_checkpoint_violations_total',
      { component: 'control-plane' },
      'Sum',
      { above: 0, minutes: 1, why: 'A cell has shown another past than before' },
    );
    alarms.own('server-errors', 'control_plane_requests_total', { component: 'control-plane' }, 'Sum', {
      above: 10,
      minutes: 2,
      why: 'More than ten requests a minute are answered with 5xx (the collector counts only these)',
    });
    this.watched = alarms.unwell();
  }
}
