/**
 * Each process's actions on each table, as in the code that performs them (store/src/dynamodb,
 * control-plane/src). Only the control plane may delete a block: it purges what has moved
 * away, and packs what is old.
 */
import type { Use } from './durable-tables.ts';

const READ = ['dynamodb:GetItem', 'dynamodb:Query'];
const WRITE = ['dynamodb:PutItem', 'dynamodb:ConditionCheckItem'];
const DELETE = 'dynamodb:DeleteItem';
/**
 * What `ctl capacity` asks for: how many bytes a table holds. And the id by which a cell knows its
 * own tables.
 */
const DESCRIBE = 'dynamodb:DescribeTable';

/**
 * How its feed follows the changes of a table. The name of the stream is in the table's
 * description.
 */
const FOLLOW = ['dynamodb:DescribeStream', 'dynamodb:GetShardIterator', 'dynamodb:GetRecords'];

/** A failover notes from where on the new Region archives. */
const WHERE_IT_ENDS = 'dynamodb:DescribeStream';

/** A cell's own processes. They delete nothing. */
export const BY_CELL: readonly Use[] = [
  { table: 'ledger', actions: [...READ, DESCRIBE, ...WRITE], indexActions: ['dynamodb:Query'], streamActions: FOLLOW },
  { table: 'snapshots', actions: [...READ, DESCRIBE, ...WRITE] },
  { table: 'homes', actions: [...READ, DESCRIBE, ...WRITE, 'dynamodb:BatchGetItem'] },
  { table: 'owners', actions: ['dynamodb:GetItem', 'dynamodb:PutItem', DESCRIBE] },
];

/**
 * The control plane, to a cell's tables: to move, forget, audit, count customers, and take it to
 * another Region.
 */
export const BY_CONTROL_PLANE: readonly Use[] = [
  {
    table: 'ledger',
    actions: [...READ, DESCRIBE, ...WRITE, DELETE],
    indexActions: ['dynamodb:Query', 'dynamodb:Scan'],
    streamActions: [WHERE_IT_ENDS],
  },
  { table: 'snapshots', actions: [...READ, DESCRIBE, ...WRITE, DELETE] },
  { table: 'homes', actions: [...READ, DESCRIBE, ...WRITE, 'dynamodb:BatchGetItem'] },
  { table: 'owners', actions: ['dynamodb:GetItem', 'dynamodb:PutItem', DESCRIBE, DELETE] },
];

/**
 * The control plane, to its own. Only checkpoints of a lost log are ever deleted, once they have
 * another name.
 */
export const OWN_OF_CONTROL_PLANE: readonly Use[] = [
  { table: 'placement', actions: [...READ, ...WRITE] },
  { table: 'operations', actions: [...READ, ...WRITE, 'dynamodb:UpdateItem'] },
  { table: 'cells', actions: [...READ, ...WRITE, 'dynamodb:Scan'] },
  { table: 'checkpoints', actions: [...READ, ...WRITE, DELETE] },
  { table: 'deploys', actions: [...READ, ...WRITE, 'dynamodb:UpdateItem'] },
];
