/**
 * A cell: everything it needs, in an account that has nothing else. It must never name another
 * cell.
 */
import type { StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import type { Watched } from './alarms.ts';
import { byCell, ownPartOnly, statements } from './archive-uses.ts';
import { budget } from './budget.ts';
import { archiveRegion } from './cells-toml.ts';
import { Cluster } from './cluster.ts';
import type { Settings } from './deployment-config.ts';
import { DurableTables } from './durable-tables.ts';
import { PORTS, VERSIONS_GROUP, cellRole, clusterName, controlPlaneRole, tablesRole, versionsRole } from './names.ts';
import { Network } from './network/network.ts';
import { PrivateLinks, offer } from './network/private-link.ts';
import { ProcessLogs } from './process-logs.ts';
import { roleForAnother } from './roles.ts';
import { CELL_TABLES } from './table-shapes.ts';
import { BY_CELL, BY_CONTROL_PLANE } from './table-uses.ts';
import { Topics } from './topics.ts';
import { ZonalService } from './network/zonal-service.ts';
import { ZonedStack } from './zoned-stack.ts';

export class CellStack extends ZonedStack {
  readonly service: ZonalService;
  readonly watched: Watched;

  constructor(scope: Construct, id: string, settings: Settings, cell: string, props: StackProps) {
    const { alerts, cellBudgetUsd, config, privateServices } = settings;
    const entry = config.cells.find((one) => one.id === cell);
    if (!entry) throw new Error(`cells.toml has no cell ${cell}`);
    super(scope, id, config, entry.account, { ...props, description: `Cell ${cell} of ${config.deployment.name}` });

    const tables = new DurableTables(this, 'Tables', CELL_TABLES, `${cell}-`);
    const network = new Network(this, 'Network', config.deployment.zones.length, {
      followsTables: true,
      ...(archiveRegion(config) !== this.region && { bucketsIn: archiveRegion(config) }),
    });
    const cluster = new Cluster(this, 'Cluster', settings, cell, network);
    const own = byCell(config, cell);
    const role = cluster.identity('cell', [...tables.statements(BY_CELL), ...statements(own)], {
      roleName: cellRole(config, cell),
    });
    ownPartOnly(role, own);
    cluster.collector(cell, network);
    new ProcessLogs(this, 'Logs', cell, 'cell', cluster);
    const byControlPlane = { account: config.aws.control_plane_account, trusted: controlPlaneRole(config) };
    roleForAnother(this, 'ControlPlane', {
      ...byControlPlane,
      roleName: tablesRole(config, cell),
      statements: tables.statements(BY_CONTROL_PLANE),
    });
    const versions = { ...byControlPlane, roleName: versionsRole(config, cell), statements: [] };
    cluster.admit('VersionsAccess', roleForAnother(this, 'Versions', versions), VERSIONS_GROUP);

    this.service = new ZonalService(this, 'Service', {
      network,
      cluster,
      listen: PORTS.cell,
      target: PORTS.cell,
      output: 'CellTargets',
    });
    offer(this, this.service, [config.aws.router_account, config.aws.control_plane_account]);
    new PrivateLinks(this, 'Reaches', { network, services: privateServices, wanted: [['router', PORTS.internal]] });

    const topics = new Topics(this, 'Topics', cell, alerts);
    topics.publishedFrom(network, cluster);
    const alarms = new Alarms(this, 'Alarms', cell, topics);
    alarms.tables(tables);
    this.service.watch(alarms, 'cell');
    ownAlarms(alarms, cell);
    if (cellBudgetUsd !== undefined) budget(this, clusterName(config, cell), cellBudgetUsd, topics);
    this.watched = alarms.unwell();
  }
}

/** Of the cell's own metrics (docs/runbook.md says what to do about each). */
function ownAlarms(alarms: Alarms, cell: string): void {
  const of = { cell };
  alarms.own('server-errors', 'cell_requests_total', of, 'Sum', {
    above: 10,
    minutes: 2,
    why: 'More than ten requests a minute are answered with 5xx (the collector counts only these)',
  });
  alarms.own('transfers-stuck', 'cell_transfers_stuck', of, 'Maximum', {
    above: 0,
    minutes: 1,
    why: 'Money has been in flight for more than an hour; the courier still carries it',
    silence: 'unknown',
  });
  alarms.own('transfers-late', 'cell_transfer_in_flight_oldest_seconds', of, 'Maximum', {
    above: 60,
    minutes: 5,
    why: 'Money has been in flight for more than a minute',
    silence: 'unknown',
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
