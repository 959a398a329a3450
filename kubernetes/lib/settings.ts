/** What manifests are made of: a deployment's folder in which images and the issuer of tokens are known. */
import type { CellConfig } from '../../cdk/lib/cells-toml.ts';
import type { Deployment, Image } from '../../cdk/lib/deployment-config.ts';
import { deployment } from '../../cdk/lib/settings.ts';

export interface Settings extends Deployment {
  /** By the names that the cluster pulls them by. */
  readonly images: Readonly<Record<Image, string>>;
  readonly tokens: NonNullable<Deployment['tokens']>;
}

export type Cell = CellConfig;

export function load(folder: string): Settings {
  const given = deployment(folder);
  const { config, images, tokens } = given;
  if (!images || !tokens) throw new Error(`${given.folder}/settings.json: manifests need images and tokens`);
  const registry = `${config.aws.control_plane_account}.dkr.ecr.${config.deployment.region}.amazonaws.com`;
  const named = Object.entries(images).map(([image, digest]) => [
    image,
    `${registry}/${config.deployment.name}/${image}@${digest}`,
  ]);
  return { ...given, images: Object.fromEntries(named) as Settings['images'], tokens };
}
