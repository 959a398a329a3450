/**
 * A cell in one Region: everything it needs, in an account that has nothing else. In its second
 * Region it is the same, and its processes wait. It must never name another cell.
 */
import type { StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { byCell, ownPartOnly, statements } from './archive-uses.ts';
import { budget } from './budget.ts';
import { cellTargets, ofRole, portOf, rolesOf } from './cell-roles.ts';
import { archiveRegion } from './cells-toml.ts';
import { Cluster } from './cluster.ts';
import type { AwsConfig, Settings } from './deployment-config.ts';
import { DurableTables } from './durable-tables.ts';
import { PORTS, VERSIONS_GROUP, cellRole, clusterName, tablesRole, versionsRole } from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, offer } from './network/private-link.ts';
import { ProcessLogs } from './process-logs.ts';
import { controlPlaneRoles, others, stackOf } from './places.ts';
import type { Place } from './places.ts';
import { alsoForRole, roleForAnother } from './roles.ts';
import { CELL_TABLES } from './table-shapes.ts';
import { BY_CELL, BY_CONTROL_PLANE } from './table-uses.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';

export class CellStack extends ZonedStack {
  readonly service: ZonalService;
  readonly watched: Watched;

  constructor(scope: Construct, settings: Settings, cell: string, place: Place, props: StackProps) {
    const { alerts, cellBudgetUsd, config, privateServices } = settings;
    const { aws } = config;
    const entry = config.cells.find((one) => one.id === cell);
    if (!entry) throw new Error(`cells.toml has no cell ${cell}`);
    const stack = stackOf(cell, place);
    const description = place.isHome
      ? `Cell ${cell} of ${config.deployment.name}`
      : `Second Region of cell ${cell} of ${config.deployment.name}`;
    super(scope, stack, config, { account: entry.account, part: cell, place }, { ...props, description });

    const tables = new DurableTables(this, 'Tables', CELL_TABLES, `${cell}-`);
    const network = new Network(this, 'Network', place.zones.length, {
      followsTables: true,
      ...(archiveRegion(config) !== this.region && { bucketsIn: archiveRegion(config) }),
    });
    const cluster = new Cluster(this, 'Cluster', settings, stack, network);
    const own = byCell(config, cell);
    const role = cluster.identity('cell', [...tables.statements(BY_CELL), ...statements(own)], {
      roleName: cellRole(config, stack),
    });
    ownPartOnly(role, own);
    cluster.collector(stack, network);
    new ProcessLogs(this, 'Logs', stack, 'cell', cluster);
    this.letsControlPlane(config, cell, place, tables, cluster);

    const roles = rolesOf(entry);
    const [first, also] = roles.map((one) => ({ listen: portOf(one), target: PORTS.cell, output: cellTargets(one) }));
    this.service = new ZonalService(this, 'Service', { network, cluster, ...first!, ...(also && { also }) });
    offer(this, this.service, [aws.router_account, aws.control_plane_account], others(config, place));
    const router = { name: 'router', stack: stackOf('router', place), ports: [PORTS.internal] };
    new PrivateLinks(this, 'Reaches', { network, services: privateServices, wanted: [router] });

    const topics = new Topics(this, 'Topics', stack, alerts);
    topics.publishedFrom(network, cluster);
    const alarms = new Alarms(this, 'Alarms', stack, topics);
    alarms.tables(tables);
    roles.forEach((one, door) => this.service.watch(alarms, ofRole('cell', one), door));
    ownAlarms(alarms, cell, entry.standby !== undefined);
    // Of the account, which has nothing but the cell in both of its Regions.
    if (cellBudgetUsd !== undefined && place.isHome) budget(this, clusterName(config, cell), cellBudgetUsd, topics);
    this.watched = alarms.unwell();
  }

  /** It works on the tables of both Regions as one role, since the registry knows one; each cluster has a role of its own. */
  private letsControlPlane(
    config: AwsConfig,
    cell: string,
    place: Place,
    tables: DurableTables,
    cluster: Cluster,
  ): void {
    const byControlPlane = { account: config.aws.control_plane_account, trusted: controlPlaneRoles(config) };
    const uses = tables.statements(BY_CONTROL_PLANE);
    const roleName = tablesRole(config, cell);
    if (place.isHome) roleForAnother(this, 'ControlPlane', { ...byControlPlane, roleName, statements: uses });
    else alsoForRole(this, 'ControlPlane', roleName, uses);
    const versions = { ...byControlPlane, roleName: versionsRole(config, stackOf(cell, place)), statements: [] };
    cluster.admit('VersionsAccess', roleForAnother(this, 'Versions', versions), VERSIONS_GROUP);
  }
}

/** Of the cell's own metrics (docs/runbook.md says what to do about each). */
function ownAlarms(alarms: Alarms, cell: string, hasStandby: boolean): void {
  const of = { cell };
  // In one of its two Regions, a cell waits. Its processes have no money in flight then, and say nothing of it.
  const silence = hasStandby ? 'well' : 'unknown';
  alarms.own('silent', 'cell_build_info', of, 'Minimum', {
    below: 1,
    minutes: 2,
    why: 'Never rings: without data, nothing is known of the processes, and no deploy passes',
    silence: 'unknown',
  });
  alarms.own('server-errors', 'cell_requests_total', of, 'Sum', {
    above: 10,
    minutes: 2,
    why: 'More than ten requests a minute are answered with 5xx (the collector counts only these)',
  });
  alarms.own('transfers-stuck', 'cell_transfers_stuck', of, 'Maximum', {
    above: 0,
    minutes: 1,
    why: 'Money has been in flight for more than an hour; the courier still carries it',
    silence,
  });
  alarms.own('transfers-late', 'cell_transfer_in_flight_oldest_seconds', of, 'Maximum', {
    above: 60,
    minutes: 5,
    why: 'Money has been in flight for more than a minute',
    silence,
  });
  alarms.own('integrity-breaks', 'cell_integrity_pass_breaks', of, 'Maximum', {
    above: 0,
    minutes: 1,
    why: 'A chain or a row is not as it must be; its wallet is frozen',
  });
  alarms.own('shedding', 'cell_shed_total', of, 'Sum', {
    above: 100,
    minutes: 5,
    why: 'The cell refuses more than a hundred requests a minute for its load',
  });
}
