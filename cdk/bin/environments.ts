/**
 * Every account and Region in which the CDK deploys something, a line each: `ACCOUNT REGION`. The
 * pipeline's own account is the first; in it, the pipeline keeps what it deploys to other Regions.
 */
import { archiveRegion } from '../lib/cells-toml.ts';
import { standbys } from '../lib/deployment-config.ts';
import { deployment } from '../lib/settings.ts';

const { config } = deployment();
const { aws, cells } = config;
const { region } = config.deployment;
const seconds = standbys(config);
const elsewhere = [archiveRegion(config), ...seconds.map((one) => one.region)];
const all = [
  [aws.control_plane_account, region],
  ...elsewhere.map((one) => [aws.control_plane_account, one]),
  [aws.router_account, region],
  [aws.archive_account, archiveRegion(config)],
  ...cells.map(({ account }) => [account, region]),
  ...seconds.map((one) => [one.account, one.region]),
];
console.log([...new Set(all.map((one) => one.join(' ')))].join('\n'));
