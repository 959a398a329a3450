/**
 * A deployment is a folder: `cells.toml`, which the processes read too, and `settings.json`, which
 * has what only AWS asks for, and what is known once a part of it is there. It is in the repository
 * that deploys itself, so that a pipeline finds it in its checkout. An example is never taken for
 * one: the folder has to be there, or be named by the variable DEPLOYMENT.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { read as readCells } from './cells-toml.ts';
import { onAws } from './deployment-config.ts';
import type { AwsConfig, Deployment } from './deployment-config.ts';
import { places, placesOf, stackOf } from './places.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const EXAMPLE = join(ROOT, 'cdk/example');
const CONNECTION = /^arn:aws:codeconnections:[a-z0-9-]+:([0-9]{12}):connection\/[0-9a-f-]{36}$/;

/** One request of a thousand: X-Ray asks money for each. */
const TRACE_RATIO = 0.001;

/** As `Version` in topology/src/version.rs. */
const version = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'no name of a version');

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, "an image is named by its digest, 'sha256:' and 64 of 0-9a-f");

const subscriber = z.discriminatedUnion('protocol', [
  z.strictObject({ protocol: z.literal('https'), endpoint: z.url({ protocol: /^https$/ }) }),
  z.strictObject({ protocol: z.literal('email'), endpoint: z.email() }),
]);

const File = z.strictObject({
  pipeline: z
    .strictObject({
      repository: z.string().regex(/^[\w.-]+\/[\w.-]+$/, 'a repository is owner/name'),
      branch: z.string().min(1),
      connection: z.string().regex(CONNECTION, 'not the ARN of a CodeConnections connection'),
    })
    .optional(),
  operators: z
    .string()
    .regex(/^arn:aws:iam::[0-9]{12}:role\/[\w+=,.@/-]+$/, 'not the ARN of a role')
    .optional(),
  bastion: z.boolean().default(false),
  cellBudgetUsd: z.number().positive().optional(),
  images: z
    .strictObject({
      'control-plane': digest,
      ctl: digest,
      collector: digest,
      prometheus: digest,
      alertmanager: digest,
      'fluent-bit': digest,
      grafana: digest,
    })
    .optional(),
  version: version.optional(),
  versions: z.record(version, digest).default({}),
  routerVersion: version.optional(),
  routerVersions: z.record(version, digest).default({}),
  alerts: z.strictObject({ page: subscriber, ticket: subscriber }).optional(),
  traceRatio: z.number().min(0).max(1).default(TRACE_RATIO),
  tokens: z.strictObject({ issuer: z.string().min(1), audience: z.string().min(1) }).optional(),
  privateAuthority: z.boolean().default(false),
  switches: z.record(z.string(), z.string()).default({}),
  hostedZone: z
    .string()
    .regex(/^Z[A-Z0-9]{1,31}$/, 'not the id of a hosted zone')
    .optional(),
  privateServices: z.record(z.string(), z.string().startsWith('com.amazonaws.vpce.')).default({}),
});

/** The folder of the deployment: DEPLOYMENT, or else `deployment/` in the repository. */
export function deployment(named = process.env['DEPLOYMENT']): Deployment {
  const folder = resolve(named ?? join(ROOT, 'deployment'));
  const [cells, file] = [join(folder, 'cells.toml'), join(folder, 'settings.json')];
  const missing = [cells, file].find((path) => !existsSync(path));
  if (missing !== undefined)
    throw new Error(`there is no ${missing}: copy cdk/example to deployment/, or name a folder by DEPLOYMENT`);
  const text = readFileSync(cells, 'utf8');
  const config = onAws(readCells(cells));
  return { folder, text, config, ...settingsOf(file, config) };
}

function settingsOf(file: string, config: AwsConfig): z.infer<typeof File> {
  const shaped = File.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  if (!shaped.success) throw new Error(`${file}: ${z.prettifyError(shaped.error)}`);
  const what = broken(shaped.data, config);
  if (what !== undefined) throw new Error(`${file}: ${what}`);
  return shaped.data;
}

/** The first rule that is broken, and by what. */
function broken(file: z.infer<typeof File>, config: AwsConfig): string | undefined {
  const {
    aws,
    cells,
    deployment: { zones },
  } = config;
  const { bastion, operators, pipeline, privateServices, switches } = file;
  for (const [one, all] of [
    ['version', 'versions'],
    ['routerVersion', 'routerVersions'],
  ] as const) {
    const wanted = file[one];
    if (wanted !== undefined && file[all][wanted] === undefined)
      return `${one} is ${wanted}, and ${all} has no digest of its image`;
  }
  if (bastion && operators === undefined) return 'bastion is true, and operators names no role that may use it';
  const account = pipeline && CONNECTION.exec(pipeline.connection)![1]!;
  if (account !== undefined && account !== aws.control_plane_account)
    return `pipeline.connection is of account ${account}, the pipeline of ${aws.control_plane_account}`;
  const switched = Object.keys(switches).sort().join(', ');
  const sets = [zones, places(config).flatMap((place) => place.zones)].map((set) => [...set].sort().join(', '));
  // Of home, or of both Regions: the second one's are known later.
  if (switched !== '' && !sets.includes(switched)) return `switches are of ${switched}, the zones ${sets.at(-1)}`;
  const shared = places(config).flatMap((place) => [stackOf('router', place), stackOf('control-plane', place)]);
  const known = [...shared, ...cells.flatMap((cell) => placesOf(config, cell).map((place) => stackOf(cell.id, place)))];
  const stray = Object.keys(privateServices).find((name) => !known.includes(name));
  return stray && `privateServices has ${stray}, which is no cell`;
}
