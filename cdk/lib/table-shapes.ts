/**
 * The keys of every table, as the processes create them on a developer's machine. test/tables.test.ts reads the Rust
 * sources and fails where the two differ: a key cannot be changed afterwards.
 */

type Kind = 'S' | 'N';

/** Name and kind of a key attribute. */
export type Key = readonly [name: string, kind: Kind];

export interface Index {
  readonly name: string;
  readonly partition: Key;
  readonly sort: Key;
  readonly projection: 'KEYS_ONLY' | 'ALL';
}

export interface TableShape {
  readonly name: string;
  readonly partition: Key;
  readonly sort?: Key;
  readonly index?: Index;
  /** Whether it has a change stream, of new images. */
  readonly isFollowed?: true;
}

/** Of a cell: store/src/dynamodb/tables.rs. */
export const CELL_TABLES = [
  {
    name: 'ledger',
    partition: ['w', 'S'],
    sort: ['n', 'N'],
    index: { name: 'buckets', partition: ['k', 'S'], sort: ['w', 'S'], projection: 'KEYS_ONLY' },
    isFollowed: true,
  },
  { name: 'snapshots', partition: ['w', 'S'], sort: ['s', 'S'] },
  { name: 'homes', partition: ['k', 'S'] },
  { name: 'owners', partition: ['w', 'S'] },
] as const satisfies readonly TableShape[];

/** Of the control plane: the functions `table` in control-plane/src. */
export const CONTROL_PLANE_TABLES = [
  { name: 'placement', partition: ['k', 'S'], sort: ['v', 'N'] },
  { name: 'operations', partition: ['k', 'S'], sort: ['v', 'N'] },
  { name: 'cells', partition: ['id', 'S'] },
  { name: 'checkpoints', partition: ['cell', 'S'], sort: ['n', 'N'] },
  { name: 'deploys', partition: ['k', 'S'], sort: ['v', 'N'] },
] as const satisfies readonly TableShape[];
