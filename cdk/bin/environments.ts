/**
 * Every account and Region in which the CDK deploys something, a line each: `ACCOUNT REGION`. The
 * pipeline's own account is the first; in it, the pipeline keeps what it deploys to other Regions.
 */
import { archiveRegion } from '../lib/cells-toml.ts';
import { second } from '../lib/places.ts';
import { deployment } from '../lib/settings.ts';

const { config } = deployment();
const { aws, cells } = config;
const { region } = config.deployment;
const other = second(config)?.region;
const elsewhere = [archiveRegion(config), ...(other === undefined ? [] : [other])];
const all = [
  [aws.control_plane_account, region],
  ...elsewhere.map((one) => [aws.control_plane_account, one]),
  [aws.router_account, region],
  ...(other === undefined ? [] : [[aws.router_account, other]]),
  [aws.archive_account, archiveRegion(config)],
  ...cells.map(({ account }) => [account, region]),
  ...cells.flatMap(({ account, standby }) => (standby ? [[account, standby.region]] : [])),
];
console.log([...new Set(all.map((one) => one.join(' ')))].join('\n'));
