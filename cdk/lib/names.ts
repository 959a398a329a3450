/**
 * Names that more than one stack has to agree on: roles are trusted by name, since a stack must not
 * wait for another's.
 */
import type { Config as Whole } from './cells-toml.ts';
import type { AwsConfig } from './deployment-config.ts';

type Config = Pick<Whole, 'deployment'>;

/** `accounts` is a cell's too: where its load balancer has another role than at `cell` (cell-roles.ts). */
export const PORTS = {
  public: 8080,
  internal: 8081,
  admin: 8082,
  controlPlane: 8083,
  cell: 8091,
  accounts: 8092,
} as const;

/** Private addresses end in this; certificates carry roles, not addresses. */
export const PRIVATE_DOMAIN = 'wallet.internal';

/** The namespace of Kubernetes in which everything of a stack runs, and its service account. */
export const KUBERNETES_NAMESPACE = 'wallet';
export const COLLECTOR = 'collector';
/** Where it takes spans: OTLP over HTTP. */
export const OTLP_PORT = 4318;
/** What carries logs away, in a namespace of its own. */
export const LOG_CARRIER = 'log-carrier';
export const LOGS_NAMESPACE = 'wallet-logs';
/** Where it says what it has carried, and what it has dropped. */
export const LOG_CARRIER_PORT = 2020;
/** Prometheus and Alertmanager beside our processes. */
export const MONITORING = 'monitoring';

/** In one Region, by its stack there. */
export const controlPlaneRole = (config: Config, stack = 'control-plane') => `${config.deployment.name}-${stack}`;
/** What operators become to take all rights from the control plane of one Region, or to give them back. */
export const fenceRole = (config: Config) => `${config.deployment.name}-fence`;
/** By which the copies of the control plane's tables are encrypted: their stack makes it before there are tables. */
export const COPIES_KEY = 'alias/control-tables';
/** Of a cell's own processes in one Region, by its stack there. */
export const cellRole = (config: Config, stack: string) => `${config.deployment.name}-${stack}-cell`;
export const pipelineRole = (config: Config) => `${config.deployment.name}-pipeline-step`;
/**
 * Of a cell, `router` or `control-plane`: the role that may put manifests there, and watch its
 * alarms.
 */
export const deployRole = (config: Config, stack: string) => `${config.deployment.name}-${stack}-deploy`;
/** What operators become to work in its cluster. */
export const operatorsRole = (config: Config, stack: string) => `${config.deployment.name}-${stack}-operators`;
/** What operators become to reach the control plane through its bastion. */
export const bastionRole = (config: Config, stack = 'bastion') => `${config.deployment.name}-${stack}`;
/** What the control plane becomes to work on a cell's tables, in both of its Regions. */
export const tablesRole = (config: Config, cell: string) => `${config.deployment.name}-${cell}-tables`;
/** What the control plane becomes to take a zone out of DNS. */
export const zonesRole = (config: Config) => `${config.deployment.name}-zones`;
/**
 * What the control plane becomes to bring versions to a cell, or to `router`: it may change images in that stack's cluster
 * of one Region.
 */
export const versionsRole = (config: Config, stack: string) => `${config.deployment.name}-${stack}-versions`;
/** The group of Kubernetes that this role is in. */
export const VERSIONS_GROUP = 'wallet-versions';
export const roleArn = (account: string, name: string) => `arn:aws:iam::${account}:role/${name}`;
export const clusterName = (config: Config, stack: string) => `${config.deployment.name}-${stack}`;

/** What a stack says to its operators wakes one of them, or can wait. */
export const URGENCIES = ['page', 'ticket'] as const;
export type Urgency = (typeof URGENCIES)[number];
export const topicName = (stack: string, urgency: Urgency) => `${stack}-${urgency}s`;

/** What logs in the cluster of `cell`, `router` or `control-plane`: names of pods begin so. */
export const loggedComponents = (component: string) => [
  component,
  COLLECTOR,
  MONITORING,
  ...(component === 'control-plane' ? ['bootstrap', 'deploy'] : []),
];
export const logGroup = (stack: string, component: string) => `/wallet/${stack}/${component}`;

/** Of a cell, `router` or `control-plane`: the account is the same in both Regions. */
export function accountOf({ aws, cells }: AwsConfig, part: string): string {
  if (part === 'router') return aws.router_account;
  if (part === 'control-plane') return aws.control_plane_account;
  const cell = cells.find(({ id }) => id === part);
  if (!cell) throw new Error(`cells.toml has no cell ${part}`);
  return cell.account;
}

/** By which costs are kept apart: the cell, or the part that all have in common. */
export const tags = (config: Config, part: string) => ({ deployment: config.deployment.name, part });

/**
 * Where cells archive what they write. Names of buckets are of all accounts, so the account is in
 * it.
 */
export const archiveBucket = ({ aws, deployment }: AwsConfig) => `${deployment.name}-archive-${aws.archive_account}`;
/**
 * Of the owners of wallets, which are deleted when a person is erased: `Archive::open` knows the
 * rule.
 */
export const ownersBucket = (config: AwsConfig) => `${archiveBucket(config)}-owners`;
export const archiveUrl = (config: AwsConfig) => `s3://${archiveBucket(config)}`;

/** The output with the ARN of a zone's target group: `PublicTargetsEuWest1a`. */
export const targetsOf = (place: string) =>
  `PublicTargets${place
    .split('-')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('')}`;
