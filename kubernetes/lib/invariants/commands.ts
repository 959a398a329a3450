/**
 * What a process is started with: its image, its arguments, its environment and its files; and, of a job, that it ends.
 * They are held against the sources of its binary and against cells.toml, never against the code that wrote them.
 */
import type { Expected } from '../expectations.ts';
import { binary } from '../sources.ts';
import { container, flag, named, podLabels, when } from './parsed.ts';
import type { Parsed } from './parsed.ts';

/** Jobs that start another program than the stack's own. */
const PROGRAMS: Record<string, string> = { 'deploy-cells': 'ctl', 'deploy-routers': 'ctl' };

/** Not read by the sources of a process: by its own arguments, and by the client of S3. */
const OTHERS = ['POD_NAME', 'AWS_REGION'];

/** What the process is started with: an image by digest, and only what its source takes. */
export function starting(one: Parsed, expected: Expected): string[] {
  const component = PROGRAMS[one.metadata.name as string] ?? expected.component;
  const { flags, switches, variables, subcommands, isListed } = binary(component);
  const { args, env, image } = container(one) as { args: string[]; env: { name: string }[]; image?: string };
  const unknown = args.filter((arg) => {
    const [, name, value] = /^--([\w-]+)(=.)?/.exec(arg) ?? [];
    if (name === undefined) return !subcommands.has(arg);
    return value === undefined ? !switches.has(name) : !flags.has(name);
  });
  const strays = env.map(({ name }) => name).filter((name) => !OTHERS.includes(name) && !variables.has(name));
  return [
    ...when(!isListed, `${component} is no binary of the workspace`),
    ...unknown.map((arg) => `${named(one)}: ${component} takes no ${arg}`),
    ...strays.map((name) => `${named(one)}: ${component} reads no ${name}`),
    ...when(!image?.includes(`/${component}@sha256:`), `${named(one)}: ${image} is not ${component} by digest`),
    ...when(
      args.some((arg) => arg.includes('$(POD_NAME)')) && !env.some(({ name }) => name === 'POD_NAME'),
      `${named(one)}: POD_NAME is not set`,
    ),
  ];
}

/** The client of S3 takes the bucket's Region from the environment, which EKS would fill with the cluster's. */
export function archiving(one: Parsed, { archive }: Expected): string[] {
  const of = (container(one).env as { name: string; value?: string }[]).find(({ name }) => name === 'AWS_REGION');
  return when(
    flag(one, 'archive') !== undefined && of?.value !== archive,
    `${named(one)}: looks for the archive in ${of?.value}, not ${archive}`,
  );
}

/** An image of another Region is not there when that is lost. */
export function registry(one: Parsed, { region }: Expected): string[] {
  const images = (one.spec.template.spec.containers as Parsed[]).map(({ image }) => image as string | undefined);
  return images
    .filter((image) => image !== undefined && !image.includes(`.dkr.ecr.${region}.amazonaws.com/`))
    .map((image) => `${named(one)}: ${image} is not of the registry in ${region}`);
}

/** A deploy waits for it; services and budgets are for what serves. */
export function job(one: Parsed, { component }: Expected): string[] {
  const { activeDeadlineSeconds, backoffLimit, template } = one.spec;
  return [
    ...when(
      !(activeDeadlineSeconds > 0 && backoffLimit >= 0) || template.spec.restartPolicy !== 'Never',
      `${named(one)}: may go on without end`,
    ),
    ...when(
      podLabels(one)['app.kubernetes.io/name'] === component,
      `${named(one)}: is taken for a process of ${component}`,
    ),
  ];
}

/** Every file that a flag names is in something mounted, and ConfigMaps that we write ourselves hold it. */
export function mounted(one: Parsed, maps: Parsed[]): string[] {
  const { volumes = [], containers } = one.spec.template.spec;
  return (containers as Parsed[]).flatMap((each) => mountedIn(one, each, volumes, maps));
}

function mountedIn(one: Parsed, each: Parsed, volumes: Parsed[], maps: Parsed[]): string[] {
  const { volumeMounts = [], args = [], readinessProbe } = each;
  const words: string[] = [...args, ...(readinessProbe?.exec?.command ?? [])];
  const files = words.map((word) => /(?:^|=)(\/etc\/wallet\/.*)$/.exec(word)?.[1]).filter((file) => file !== undefined);
  return [
    ...files
      .filter(
        (file) =>
          !volumeMounts.some((mount: Parsed) => file === mount.mountPath || file.startsWith(`${mount.mountPath}/`)),
      )
      .map((file) => `${named(one)}: nothing is mounted at ${file}`),
    ...volumeMounts
      .filter((mount: Parsed) => !volumes.some((volume: Parsed) => volume.name === mount.name))
      .map((mount: Parsed) => `${named(one)}: no volume ${mount.name}`),
    ...maps
      .filter((map) => volumes.some((volume: Parsed) => volume.configMap?.name === map.metadata.name))
      .flatMap((map) =>
        files
          .filter(
            (file) =>
              file.startsWith(`/etc/wallet/${map.metadata.name}/`) && map.data[file.split('/').at(-1)!] === undefined,
          )
          .map((file) => `${named(one)}: ${named(map)} has no ${file}`),
      ),
  ];
}
