/**
 * `cells.toml` by the same rules as the processes read it (topology/src/config.rs): topology/fixtures holds files that
 * both must take, or refuse. It must never know a rule that the other side does not; what only AWS asks for is in
 * `deployment.ts`.
 */
import { readFileSync } from 'node:fs';
import { parse } from 'smol-toml';
import { z } from 'zod';

const MAX_CELLS = 1_000;
const MAX_ZONES = 6;
const MAX_SHARES = 10;
const MAX_ARCHIVE_DAYS = 36_500;
/** As `HISTORY_DAYS` in topology/src/config.rs. */
const HISTORY_DAYS = { least: 35, most: 36_500 };
const MAX_BAKE_SECONDS = 86_400;
const U32_MAX = 0xffff_ffff;
/** As `RESERVED_CELL_IDS` in topology/src/ids.rs. */
const RESERVED_CELL_IDS: readonly string[] = [
  'ca',
  'canaries',
  'control',
  'control-plane',
  'jwks',
  'monitor',
  'packs',
  'public',
  'router',
  'tokens',
];

const name = (kind: string) =>
  z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, `a ${kind} id is 1 to 32 of a-z, 0-9 and '-', starting with a letter`);
const count = (max: number) => z.int().min(0).max(max);
const zone = name('zone');
const cellId = name('cell').refine((id) => !RESERVED_CELL_IDS.includes(id), {
  error: ({ input }) => `${String(input)} is no cell id: the deployment's own processes or files have that name`,
});

const Instance = z.union([
  z.string().transform((address) => ({ address, role: 'all' as const, zone: undefined })),
  z.strictObject({
    address: z.string(),
    role: z.enum(['all', 'accounts', 'transactions']).default('all'),
    zone: zone.optional(),
  }),
]);

/** As `StandbyConfig` in topology/src/config/regions.rs. */
const Standby = z.strictObject({
  region: z.string(),
  replication: z.enum(['archive', 'global-table']).default('archive'),
  instances: z.array(Instance).default([]),
  endpoint: z.string().optional(),
});

const Cell = z.strictObject({
  id: cellId,
  weight: count(U32_MAX).default(1),
  max_tps: count(U32_MAX).default(10_000),
  max_customers: count(Number.MAX_SAFE_INTEGER).default(1_000_000),
  instances: z.array(Instance).default([]),
  endpoint: z.string().optional(),
  account: z.string().optional(),
  region: z.string().optional(),
  standby: Standby.optional(),
  history_days: count(U32_MAX).optional(),
});

const Deploys = z.strictObject({
  canary: cellId.optional(),
  shares: z.array(count(255)).default([20, 50, 100]),
  bake_seconds: count(Number.MAX_SAFE_INTEGER).default(600),
});

const Aws = z.strictObject({
  router_account: z.string(),
  control_plane_account: z.string(),
  archive_account: z.string(),
  archive_days: count(Number.MAX_SAFE_INTEGER).default(4_026),
  archive_region: z.string().optional(),
  domain: z.string(),
});

const File = z.strictObject({
  deployment: z.strictObject({
    name: z.string(),
    namespace: z.uuid(),
    region: z.string(),
    zones: z.array(zone).default([]),
  }),
  deploys: Deploys.prefault({}),
  aws: Aws.optional(),
  cells: z.array(Cell).default([]),
});

export type Config = z.infer<typeof File>;
export type CellConfig = z.infer<typeof Cell>;
export type DeploysConfig = z.infer<typeof Deploys>;

/** Where the cell's tables and processes are. */
export const regionOf = ({ deployment }: Pick<Config, 'deployment'>, cell: Pick<CellConfig, 'region'>) =>
  cell.region ?? deployment.region;

/** Where the archive is; the deployment's Region, if nothing else is said. */
export const archiveRegion = ({ aws, deployment }: Pick<Config, 'aws' | 'deployment'>) =>
  aws?.archive_region ?? deployment.region;

export function read(path: string): Config {
  return parseCells(readFileSync(path, 'utf8'));
}

/** Parses and checks; the error says which rule is broken and by what. */
export function parseCells(text: string): Config {
  const shaped = File.safeParse(table(text));
  if (!shaped.success) {
    throw new Error(`cells.toml: ${z.prettifyError(shaped.error)}`);
  }
  const what = broken(shaped.data);
  if (what !== undefined) {
    throw new Error(`cells.toml: ${what}`);
  }
  return shaped.data;
}

function table(text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new Error(`cells.toml: ${(error as Error).message}`, { cause: error });
  }
}

/** Cell ids in the order in which they get a new version: each inner list together, as `Deploys::waves` has it. */
export function waves(config: Config): string[][] {
  const cells = config.cells.map((cell) => cell.id);
  const canary = config.deploys.canary ?? cells[0];
  const others = cells.filter((cell) => cell !== canary);
  const made = canary === undefined ? [] : [[canary]];
  let done = 0;
  for (const share of config.deploys.shares) {
    const byThen = Math.min(Math.max(Math.ceil((cells.length * share) / 100) - 1, 0), others.length);
    if (byThen > done) {
      made.push(others.slice(done, byThen));
      done = byThen;
    }
  }
  return made;
}

/** The first rule that is broken, and by what; in the words of the processes. */
function broken(config: Config): string | undefined {
  const { cells } = config;
  if (cells.length === 0) return 'no [[cells]]: list at least one';
  if (cells.length > MAX_CELLS) return `${cells.length} cells; at most ${MAX_CELLS}`;
  const again = twice(cells.map((cell) => cell.id));
  if (again !== undefined) return `cell ${again} is listed twice`;
  if (cells.every((cell) => cell.weight === 0)) return 'every cell has weight 0: no cell could own a bucket';
  const { least, most } = HISTORY_DAYS;
  for (const { id, history_days: days } of cells)
    if (days !== undefined && (days < least || days > most)) return `${id}: history_days ${days}; ${least} to ${most}`;
  return brokenZones(config) ?? brokenRegions(config) ?? brokenDeploys(config) ?? brokenAws(config);
}

function brokenZones({ deployment: { zones }, cells }: Config): string | undefined {
  if (zones.length > MAX_ZONES) return `${zones.length} zones; at most ${MAX_ZONES}`;
  const again = twice(zones);
  if (again !== undefined) return `zone ${again} is listed twice`;
  for (const cell of cells) {
    const stray = cell.instances.find((one) => one.zone !== undefined && !zones.includes(one.zone));
    if (stray) return `${cell.id} has an instance in zone ${stray.zone}, which deployment.zones lacks`;
  }
  return undefined;
}

function brokenRegions(config: Config): string | undefined {
  for (const cell of config.cells) {
    const region = regionOf(config, cell);
    const standby = cell.standby?.region;
    const unsound = [region, standby].find((name) => name !== undefined && !isRegion(name));
    if (unsound !== undefined) return `${cell.id}: not the name of a Region: ${JSON.stringify(unsound)}`;
    if (standby === region) return `${cell.id}: its standby is in its own Region, ${region}`;
  }
  return undefined;
}

/** As AWS names Regions. */
const isRegion = (name: string) => /^[a-z0-9-]{1,32}$/.test(name);

function brokenDeploys({ deploys: { canary, shares, bake_seconds }, cells }: Config): string | undefined {
  if (canary !== undefined && !cells.some((cell) => cell.id === canary)) {
    return `deploys.canary names ${canary}, which is not among the [[cells]]`;
  }
  if (shares.length > MAX_SHARES) return `deploys.shares has ${shares.length} waves; at most ${MAX_SHARES}`;
  const rising = shares.every((share, at) => at === 0 || shares[at - 1]! < share);
  if (!rising || shares[0] === 0 || shares.at(-1) !== 100) return 'deploys.shares are percentages that rise to 100';
  if (bake_seconds > MAX_BAKE_SECONDS) return `deploys.bake_seconds is ${bake_seconds}; at most ${MAX_BAKE_SECONDS}`;
  return undefined;
}

function brokenAws(config: Config): string | undefined {
  const { aws, cells } = config;
  const shared: [string, string][] =
    aws === undefined
      ? []
      : [
          ['aws.router_account', aws.router_account],
          ['aws.control_plane_account', aws.control_plane_account],
          ['aws.archive_account', aws.archive_account],
        ];
  const own = cells.flatMap((cell): [string, string][] =>
    cell.account === undefined ? [] : [[cell.id, cell.account]],
  );
  const owners = new Map<string, string>();
  for (const [who, account] of [...shared, ...own]) {
    if (!/^[0-9]{12}$/.test(account)) {
      return `${who}: an AWS account is twelve digits, not ${JSON.stringify(account)}`;
    }
    const other = owners.get(account);
    if (other !== undefined) return `${who} has the account of ${other}: each has its own`;
    owners.set(account, who);
  }
  if (aws === undefined) return undefined;
  const without = cells.find((cell) => cell.account === undefined);
  if (without) return `${without.id} has no account; with [aws], each cell has its own`;
  if (aws.archive_days === 0 || aws.archive_days > MAX_ARCHIVE_DAYS)
    return `aws.archive_days is ${aws.archive_days}; 1 to ${MAX_ARCHIVE_DAYS}`;
  const region = archiveRegion(config);
  if (!isRegion(region)) return `aws.archive_region: not the name of a Region: ${JSON.stringify(region)}`;
  const together = cells.find((cell) => cell.standby !== undefined && regionOf(config, cell) === region);
  if (together)
    return `${together.id} has a standby, and the archive is in its own Region, ${region}: set aws.archive_region`;
  const labels = aws.domain.split('.');
  const sound = labels.length >= 2 && labels.every((label) => /^[a-z0-9-]{1,63}$/.test(label));
  return sound && aws.domain.length <= 253
    ? undefined
    : `aws.domain: not a domain in lower case: ${JSON.stringify(aws.domain)}`;
}

function twice(all: string[]): string | undefined {
  return all.find((one, at) => all.indexOf(one) < at);
}
