/**
 * What manifests are made of: a deployment's folder in which images and the issuer of tokens are
 * known, and the Region in which they are to run.
 */
import type { CellConfig } from '../../cdk/lib/cells-toml.ts';
import type { Deployment, Image } from '../../cdk/lib/deployment-config.ts';
import { home } from '../../cdk/lib/places.ts';
import type { Place } from '../../cdk/lib/places.ts';
import { deployment } from '../../cdk/lib/settings.ts';

export interface Settings extends Deployment {
  readonly place: Place;
  /** By the names that a cluster pulls them by: each Region has its own registry. */
  readonly images: Readonly<Record<Image, string>>;
  readonly version: string;
  /** The cells' image, by version. */
  readonly versions: Readonly<Record<string, string>>;
  readonly routerVersion: string;
  readonly routerVersions: Readonly<Record<string, string>>;
  readonly tokens: NonNullable<Deployment['tokens']>;
}

export type Cell = CellConfig;

/** At home. */
export function load(folder: string): Settings {
  const given = deployment(folder);
  const { config, images, tokens, version, versions, routerVersion, routerVersions } = given;
  if (!images || !tokens || version === undefined || routerVersion === undefined)
    throw new Error(`${given.folder}/settings.json: manifests need images, tokens, version and routerVersion`);
  const place = home(config);
  const registry = `${config.aws.control_plane_account}.dkr.ecr.${place.region}.amazonaws.com`;
  const named = (image: string, digest: string) => `${registry}/${config.deployment.name}/${image}@${digest}`;
  const all = Object.entries(images).map(([image, digest]) => [image, named(image, digest)]);
  const byVersion = (image: string, digests: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
    Object.fromEntries(Object.entries(digests).map(([one, digest]) => [one, named(image, digest)]));
  return {
    ...given,
    place,
    images: Object.fromEntries(all) as Settings['images'],
    tokens,
    version,
    versions: byVersion('cell', versions),
    routerVersion,
    routerVersions: byVersion('router', routerVersions),
  };
}

/** The same in another Region, with the registry there. */
export function inPlace<S extends Settings>(settings: S, place: Place): S {
  const registry = (region: string) => `.dkr.ecr.${region}.amazonaws.com/`;
  const [from, to] = [registry(settings.place.region), registry(place.region)];
  const moved = (all: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(all).map(([name, image]) => [name, image.replace(from, to)]));
  const { images, versions, routerVersions } = settings;
  return {
    ...settings,
    place,
    images: moved(images),
    versions: moved(versions),
    routerVersions: moved(routerVersions),
  };
}
