/** What can be said of containers/Containerfile without building it. */
import { readFileSync } from 'node:fs';
import { binary } from './sources.ts';
import { USER } from './workload.ts';

const ROOT = new URL('../../', import.meta.url);

export function containerFindings(text: string, ignored: string, members: readonly string[]): string[] {
  const stages = text
    .split(/^FROM /m)
    .slice(1)
    .map((stage) => {
      const [, base, name] = /^(\S+) AS ([\w-]+)$/m.exec(stage) ?? [];
      return { base: base!, name: name!, stage };
    });
  const runtime = stages.find(({ name }) => name === 'runtime')?.stage ?? '';
  const packages = stages.find(({ name }) => name === 'packages')?.stage ?? '';
  const images = stages.filter(({ base }) => base === 'runtime');
  const builder = stages.find(({ name }) => name === 'builder')?.stage ?? '';
  return [
    ...['cell', 'router', 'control-plane', 'ctl']
      .filter((name) => !images.some((image) => image.name === name))
      .map((name) => `no image ${name}`),
    ...images.flatMap(({ name, stage }) => [
      ...(binary(name).isListed ? [] : [`${name} is no binary of the workspace`]),
      ...(stage.includes(`ENTRYPOINT ["/usr/local/bin/${name}"]`) ? [] : [`${name} does not start ${name}`]),
      ...(stage.includes(`COPY --from=binaries /out/${name} /usr/local/bin/${name}`) ? [] : [`${name} is not copied`]),
      ...(builder.includes(`--package ${name} `) && builder.includes(`--bin ${name}`) ? [] : [`${name} is not built`]),
    ]),
    ...stages
      .filter(
        ({ base, name }) => !images.some((image) => image.name === name) && !/^(\$\{[A-Z]+\}|scratch)$/.test(base),
      )
      .map(({ base }) => `${base} cannot be given by digest`),
    ...(runtime.includes(`USER ${USER}:${USER}`) ? [] : [`does not run as ${USER}`]),
    ...(runtime.startsWith('scratch ') ? [] : ['has more than its processes need']),
    ...(packages.includes(' curl') ? [] : ['has no curl, which the probes start']),
    ...members
      .filter((member) => !ignored.split('\n').includes(`!${member}`))
      .map((member) => `${member} is left out of the build`),
  ].map((what) => `containers/Containerfile: ${what}`);
}

export function checkContainers(): string[] {
  const source = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');
  const members = [.../members = \[([^\]]*)\]/.exec(source('Cargo.toml'))![1]!.matchAll(/"([\w-]+)"/g)].map(
    ([, member]) => member!,
  );
  return containerFindings(source('containers/Containerfile'), source('.containerignore'), members);
}
