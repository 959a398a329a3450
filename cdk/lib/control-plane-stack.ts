/**
 * The control plane, the images, and what it may do in the accounts of others. No request of a
 * customer passes here.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import { Repository, TagMutability } from 'aws-cdk-lib/aws-ecr';
import { AccountPrincipal, CompositePrincipal, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { byControlPlane, ownPartOnly, statements } from './archive-uses.ts';
import { Bastion } from './bastion.ts';
import { Cluster } from './cluster.ts';
import type { AwsConfig, Image, Settings } from './deployment-config.ts';
import { DurableTables } from './durable-tables.ts';
import { PORTS, controlPlaneRole, roleArn, tablesRole, versionsRole, zonesRole } from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, offer } from './network/private-link.ts';
import { ProcessLogs } from './process-logs.ts';
import { CONTROL_PLANE_TABLES } from './table-shapes.ts';
import { OWN_OF_CONTROL_PLANE } from './table-uses.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';

const IMAGES: ('cell' | Image)[] = [
  'cell',
  'router',
  'control-plane',
  'ctl',
  'collector',
  'prometheus',
  'alertmanager',
  'fluent-bit',
];

export class ControlPlaneStack extends ZonedStack {
  readonly service: ZonalService;
  readonly watched: Watched;

  constructor(scope: Construct, id: string, settings: Settings, props: StackProps) {
    const { alerts, bastion, config, operators, privateServices } = settings;
    const { aws, cells, deployment } = config;
    super(scope, id, config, aws.control_plane_account, {
      ...props,
      description: `Control plane of ${deployment.name}`,
    });
    this.images(config);

    const tables = new DurableTables(this, 'Tables', CONTROL_PLANE_TABLES, 'control-');
    const network = new Network(this, 'Network', deployment.zones.length, { callsOut: true });
    const cluster = new Cluster(this, 'Cluster', settings, 'control-plane', network);
    const elsewhere = [
      ...cells.flatMap((cell) =>
        [tablesRole, versionsRole].map((named) => roleArn(cell.account, named(config, cell.id))),
      ),
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
    offer(this, this.service, [aws.router_account]);
    new PrivateLinks(this, 'Reaches', {
      network,
      services: privateServices,
      byZone: true,
      wanted: cells.map((cell) => [cell.id, PORTS.cell] as const),
    });

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

  /** Tags never move, and what runs an image names it by its digest. */
  private images({ aws, cells, deployment }: AwsConfig): void {
    const accounts = [aws.router_account, ...cells.map((cell) => cell.account)];
    for (const image of IMAGES) {
      const repository = new Repository(this, `Image-${image}`, {
        repositoryName: `${deployment.name}/${image}`,
        imageTagMutability: TagMutability.IMMUTABLE,
        imageScanOnPush: true,
        removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
      });
      // One statement: a policy of a repository has at most 10,240 characters.
      repository.grantPull(new CompositePrincipal(...accounts.map((account) => new AccountPrincipal(account))));
    }
  }
}
