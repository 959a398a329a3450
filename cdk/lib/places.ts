/**
 * The Regions of a deployment. At home it is as cells.toml says; a second Region is there if a cell
 * has a standby, with the zones of its instances. It must never know what is built in either.
 */
import type { AwsConfig } from './deployment-config.ts';
import { controlPlaneRole } from './names.ts';

export interface Place {
  readonly region: string;
  readonly zones: readonly string[];
  readonly isHome: boolean;
}

export const home = ({ deployment: { region, zones } }: Pick<AwsConfig, 'deployment'>): Place => ({
  region,
  zones,
  isHome: true,
});

/** All standbys are in one Region, and in the same zones of it: `onAws` refuses anything else. */
export function second({ cells }: Pick<AwsConfig, 'cells'>): Place | undefined {
  const standby = cells.find((cell) => cell.standby !== undefined)?.standby;
  return standby && { region: standby.region, zones: zonesOf(standby.instances), isHome: false };
}

export function places(config: AwsConfig): Place[] {
  const other = second(config);
  return other ? [home(config), other] : [home(config)];
}

/** The Regions beside this one. */
export const others = (config: AwsConfig, { region }: Place) =>
  places(config)
    .map((place) => place.region)
    .filter((one) => one !== region);

/** A stack is called as the part that it is: a cell, `router` or `control-plane`; in the second Region, by that too. */
export const stackOf = (part: string, { isHome, region }: Place) => (isHome ? part : `${part}-${region}`);

/** The role of the control plane in each Region. One of them works at a time. */
export const controlPlaneRoles = (config: AwsConfig) =>
  places(config).map((place) => controlPlaneRole(config, stackOf('control-plane', place)));

/** In which places a cell has tables and processes. */
export const placesOf = (config: AwsConfig, cell: AwsConfig['cells'][number]): Place[] =>
  places(config).filter(({ isHome }) => isHome || cell.standby !== undefined);

export const zonesOf = (instances: readonly { readonly zone?: string | undefined }[]): string[] =>
  [...new Set(instances.flatMap(({ zone }) => (zone === undefined ? [] : [zone])))].sort();
