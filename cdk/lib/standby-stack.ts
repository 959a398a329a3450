/**
 * The second Region of a cell, in the cell's account: its tables under the same names, and the
 * rights to them. There are no processes here yet (README.md). It must never name another cell.
 */
import { Stack } from 'aws-cdk-lib';
import type { StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import { byCell, ownPartOnly, statements } from './archive-uses.ts';
import type { Settings, Standby } from './deployment-config.ts';
import { DurableTables } from './durable-tables.ts';
import { KUBERNETES_NAMESPACE, cellRole, clusterName, standbyStack, tablesRole, tags } from './names.ts';
import { alsoForRole, podRole } from './roles.ts';
import { CELL_TABLES } from './table-shapes.ts';
import { BY_CELL, BY_CONTROL_PLANE } from './table-uses.ts';
import { Topics } from './topics.ts';

export class StandbyStack extends Stack {
  constructor(scope: Construct, { alerts, config }: Settings, { cell, account, region }: Standby, props: StackProps) {
    const stack = standbyStack(cell, region);
    super(scope, stack, {
      ...props,
      description: `Second Region of cell ${cell} of ${config.deployment.name}`,
      env: { account, region },
      tags: tags(config, cell),
      terminationProtection: true,
    });
    const tables = new DurableTables(this, 'Tables', CELL_TABLES, `${cell}-`);
    const own = byCell(config, cell);
    const uses = [...tables.statements(BY_CELL), ...statements(own)];
    const role = podRole(this, 'Cell', `${KUBERNETES_NAMESPACE}/cell`, clusterName(config, stack), {
      statements: uses,
      roleName: cellRole(config, stack),
    });
    ownPartOnly(role, own);
    // The registry knows one role for both Regions.
    alsoForRole(this, 'ControlPlane', tablesRole(config, cell), tables.statements(BY_CONTROL_PLANE));
    const alarms = new Alarms(this, 'Alarms', stack, new Topics(this, 'Topics', stack, alerts, ['page']));
    alarms.tables(tables);
    alarms.unwell();
  }
}
