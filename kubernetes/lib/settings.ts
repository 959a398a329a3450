/** What manifests are made of: a deployment's folder in which images and the issuer of tokens are known. */
import type { CellConfig } from '../../cdk/lib/cells-toml.ts';
import type { Deployment, Image } from '../../cdk/lib/deployment-config.ts';
import { deployment } from '../../cdk/lib/settings.ts';

/** By the names that the cluster pulls them by. */
export interface Settings extends Deployment {
  readonly images: Readonly<Record<Image, string>>;
  readonly version: string;
  /** The cells' image, by version. */
  readonly versions: Readonly<Record<string, string>>;
  readonly tokens: NonNullable<Deployment['tokens']>;
}

export type Cell = CellConfig;

export function load(folder: string): Settings {
  const given = deployment(folder);
  const { config, images, tokens, version, versions } = given;
  if (!images || !tokens || version === undefined)
    throw new Error(`${given.folder}/settings.json: manifests need images, tokens and version`);
  const registry = `${config.aws.control_plane_account}.dkr.ecr.${config.deployment.region}.amazonaws.com`;
  const named = (image: string, digest: string) => `${registry}/${config.deployment.name}/${image}@${digest}`;
  const all = Object.entries(images).map(([image, digest]) => [image, named(image, digest)]);
  const ofCells = Object.entries(versions).map(([version, digest]) => [version, named('cell', digest)]);
  return {
    ...given,
    images: Object.fromEntries(all) as Settings['images'],
    tokens,
    version,
    versions: Object.fromEntries(ofCells) as Settings['versions'],
  };
}
