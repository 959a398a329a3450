/** What manifests are made of besides cells.toml: which images run, and which issuers of tokens are believed. */
import { readFileSync } from 'node:fs';
import { read } from '../../cdk/lib/cells-toml.ts';
import type { CellConfig } from '../../cdk/lib/cells-toml.ts';
import { onAws } from '../../cdk/lib/deployment-config.ts';
import type { AwsConfig } from '../../cdk/lib/deployment-config.ts';

export type Image = 'cell' | 'router' | 'control-plane' | 'collector';

export interface Settings {
  readonly config: AwsConfig;
  /** The text of cells.toml, which the control plane reads itself. */
  readonly text: string;
  readonly images: Readonly<Record<Image, string>>;
  readonly tokens: { readonly issuer: string; readonly audience: string };
  /**
   * The health check by which each zone is left: the outputs `Switch-<zone>` of the routers' stack. None before that is
   * there: zones are then left by routers alone.
   */
  readonly switches: Readonly<Record<string, string>>;
}

export type Cell = CellConfig;

export function load(cells: string, file: string): Settings {
  const config = onAws(read(cells));
  const given = JSON.parse(readFileSync(file, 'utf8')) as Pick<Settings, 'images' | 'tokens'> & Partial<Settings>;
  const { images, tokens, switches = {} } = given;
  const { control_plane_account: account } = config.aws;
  const { name, region, zones } = config.deployment;
  const switched = Object.keys(switches);
  if (switched.length > 0 && switched.sort().join() !== [...zones].sort().join())
    throw new Error(`${file}: switches are of ${switched.join(', ')}, the zones ${zones.join(', ')}`);
  const named = Object.entries(images).map(([image, digest]) => {
    if (!/^sha256:[0-9a-f]{64}$/.test(digest))
      throw new Error(`${file}: ${image} is named by a digest, not ${JSON.stringify(digest)}`);
    return [image, `${account}.dkr.ecr.${region}.amazonaws.com/${name}/${image}@${digest}`];
  });
  const text = readFileSync(cells, 'utf8');
  return { config, text, images: Object.fromEntries(named) as Settings['images'], tokens, switches };
}
