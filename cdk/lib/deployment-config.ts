/**
 * A cells.toml that describes a deployment on AWS: what AWS asks for beyond what the processes do.
 */
import { brokenRoles } from './cell-roles.ts';
import { regionOf } from './cells-toml.ts';
import type { CellConfig, Config } from './cells-toml.ts';
import { cellRole, deployRole, operatorsRole, tablesRole, versionsRole } from './names.ts';
import type { Urgency } from './names.ts';
import { places, placesOf, second, stackOf, zonesOf } from './places.ts';
import type { Place } from './places.ts';

const MIN_ZONES = 2;
const LONGEST_ROLE = 64;
/** Part of the names of roles, beside a cell's id. */
const NAME = /^[a-z][a-z0-9-]{0,23}$/;
/** Stacks of these names are there already. */
const RESERVED = ['archive', 'control-plane', 'copies', 'router', 'pipeline'];

export type AwsConfig = Omit<Config, 'aws' | 'cells'> & {
  aws: NonNullable<Config['aws']>;
  cells: (CellConfig & { account: string })[];
};

/** The configuration, if it is one for AWS. */
export function onAws(config: Config): AwsConfig {
  if (!config.aws) throw new Error('cells.toml has no [aws]: there is nothing to build on AWS');
  const { name, region, zones } = config.deployment;
  if (!NAME.test(name))
    throw new Error(
      `deployment.name is part of names on AWS: 1 to 24 of a-z, 0-9 and '-', not ${JSON.stringify(name)}`,
    );
  if (zones.length < MIN_ZONES) throw new Error(`deployment.zones has ${zones.length}; on AWS at least ${MIN_ZONES}`);
  const stray = zones.find((zone) => !zone.startsWith(region));
  if (stray !== undefined) throw new Error(`zone ${stray} is not of region ${region}`);
  const taken = config.cells.find(({ id }) => RESERVED.includes(id));
  if (taken) throw new Error(`a cell cannot be called ${taken.id}: a stack is`);
  const elsewhere = config.cells.find((cell) => regionOf(config, cell) !== region);
  if (elsewhere) throw new Error(`${elsewhere.id} is in ${elsewhere.region}: clusters are built in ${region} alone`);
  const aws = config as AwsConfig;
  const what = brokenStandbys(aws) ?? brokenRoles(aws) ?? longRole(aws);
  if (what !== undefined) throw new Error(what);
  return aws;
}

function brokenStandbys(config: AwsConfig): string | undefined {
  // Wallets are created, buckets handed over and wallets purged in transactions, over all four
  // tables of a cell. A table with multi-Region strong consistency refuses these; one without it
  // can lose a block and keep the one after it.
  const global = config.cells.find(({ standby }) => standby?.replication === 'global-table');
  if (global) return `${global.id}: replication = "global-table" cannot be built on AWS yet: cdk/README.md says why`;
  const other = second(config);
  if (!other) return undefined;
  const what = brokenZones(config, other);
  if (what !== undefined) return what;
  const stacks = config.cells.flatMap((cell) => placesOf(config, cell).map((place) => stackOf(cell.id, place)));
  const shared = RESERVED.map((part) => stackOf(part, other));
  const taken = stacks.find((stack, at) => stacks.indexOf(stack) < at || shared.includes(stack));
  return taken && `a cell cannot be called ${taken}: a stack is`;
}

/** The CDK refuses such a name too, and does not say which. */
function longRole(config: AwsConfig): string | undefined {
  const stacks = config.cells.flatMap((cell) => placesOf(config, cell).map((place) => stackOf(cell.id, place)));
  const roles = [
    ...stacks.flatMap((stack) =>
      [cellRole, deployRole, operatorsRole, versionsRole].map((role) => role(config, stack)),
    ),
    ...config.cells.map(({ id }) => tablesRole(config, id)),
    ...places(config).map((place) => operatorsRole(config, stackOf('control-plane', place))),
  ];
  const long = roles.find((role) => role.length > LONGEST_ROLE);
  return (
    long &&
    `a role would be called ${long}, with more than ${LONGEST_ROLE} characters: shorten the cell's id, or deployment.name`
  );
}

/** One second Region is built, with a network in each of its zones. */
function brokenZones({ cells }: AwsConfig, { region, zones }: Place): string | undefined {
  const having = cells.flatMap(({ id, standby }) => (standby ? [{ id, standby }] : []));
  const elsewhere = having.find(({ standby }) => standby.region !== region);
  if (elsewhere)
    return `${elsewhere.id} has its standby in ${elsewhere.standby.region}, another cell in ${region}: one second Region is built`;
  if (zones.length < MIN_ZONES)
    return `${having[0]!.id}: the instances of its standby are in ${zones.length} zones; on AWS at least ${MIN_ZONES}`;
  const stray = zones.find((zone) => !zone.startsWith(region));
  if (stray !== undefined) return `zone ${stray} is not of region ${region}`;
  const apart = having.find(({ standby }) => zonesOf(standby.instances).join() !== zones.join());
  return apart && `${apart.id}: the instances of its standby are in other zones than those of ${having[0]!.id}`;
}

/**
 * Names of the endpoint services behind which the others' private addresses are: of each cell, of
 * `router` and of `control-plane`. They exist once the stack that offers one has been deployed;
 * until then nothing connects to it.
 */
export type PrivateServices = Readonly<Record<string, string>>;

/** What subscribes to a topic. It has to confirm that, in each account. */
export interface Subscriber {
  readonly protocol: 'https' | 'email';
  readonly endpoint: string;
}

/** To what wakes an operator, and to what can wait. */
export type Alerts = Readonly<Record<Urgency, Subscriber>>;

export interface Settings {
  readonly config: AwsConfig;
  readonly privateServices: PrivateServices;
  /** The hosted zone of `aws.domain`, once the routers' stack at home has made it: the second Region adds to it. */
  readonly hostedZone?: string | undefined;
  /** Without it, nothing subscribes. */
  readonly alerts?: Alerts | undefined;
  /**
   * ARN of the role that operators have. From it they become the role that each cluster admits;
   * without it, none is.
   */
  readonly operators?: string | undefined;
  /** Whether operators reach the control plane through an instance in its network. */
  readonly bastion?: boolean | undefined;
  /** What a cell may cost in a month before that is said. */
  readonly cellBudgetUsd?: number | undefined;
}

/** Where the pipeline finds what it deploys. */
export interface Source {
  /** `owner/name`. */
  readonly repository: string;
  readonly branch: string;
  /** ARN of a CodeConnections connection. */
  readonly connection: string;
}

export type Image = 'control-plane' | 'ctl' | 'collector' | 'prometheus' | 'alertmanager' | 'fluent-bit' | 'grafana';

/**
 * All of a deployment's folder. What is missing is not known yet, and needed only by what comes
 * later.
 */
export interface Deployment extends Settings {
  readonly folder: string;
  /** The text of cells.toml, which the control plane reads itself. */
  readonly text: string;
  readonly pipeline?: Source | undefined;
  /** What the cells are to run: one of the next. */
  readonly version?: string | undefined;
  /**
   * The digest of the cells' image, by version. What runs now is among them until nothing goes back
   * to it any more.
   */
  readonly versions: Readonly<Record<string, string>>;
  /** The same of the routers: where one of the two was rolled back, the other one need not go back. */
  readonly routerVersion?: string | undefined;
  readonly routerVersions: Readonly<Record<string, string>>;
  /** Digests of all other images. */
  readonly images?: Readonly<Record<Image, string>> | undefined;
  /** Of the requests that say nothing about it, which part is traced. */
  readonly traceRatio: number;
  /** Whether the certificate of `aws.domain` is from an authority that machines do not believe by themselves. */
  readonly privateAuthority: boolean;
  readonly tokens?: { readonly issuer: string; readonly audience: string } | undefined;
  /**
   * The health check by which each zone is left: the outputs `Switch-<zone>` of the routers' stack.
   * None before that is there: zones are then left by routers alone.
   */
  readonly switches: Readonly<Record<string, string>>;
}
