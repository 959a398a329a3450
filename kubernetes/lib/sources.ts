/**
 * What the binaries take, read off their sources: flags, environment variables, subcommands, and how long they drain.
 */
import { readFileSync } from 'node:fs';

const ROOT = new URL('../../', import.meta.url);
const source = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

const COMMON = ['access/src/flags.rs', 'telemetry/src/flags.rs'];
const FLAGS: Record<string, string[]> = {
  cell: ['cell/src/main.rs', 'cell/src/upkeep.rs'],
  router: ['router/src/config.rs'],
  'control-plane': ['control-plane/src/main.rs', 'control-plane/src/zones/dns.rs'],
  ctl: ['ctl/src/flags.rs', 'ctl/src/flags/deploys.rs', 'ctl/src/flags/operations.rs'],
};

export interface Binary {
  readonly flags: ReadonlySet<string>;
  /** Those of them that take no value. */
  readonly switches: ReadonlySet<string>;
  readonly variables: ReadonlySet<string>;
  readonly subcommands: ReadonlySet<string>;
  readonly isListed: boolean;
  /** From the signal to the end of the process, at most; 0 for what does not serve. */
  readonly drainSeconds: number;
}

export function binary(name: string): Binary {
  const paths = FLAGS[name];
  if (paths === undefined) throw new Error(`no binary ${name}`);
  const text = [...paths, ...COMMON].map(source).join('');
  const flags = new Set<string>();
  const switches = new Set<string>();
  const variables = new Set<string>();
  // An attribute, then doc comments and attributes in between, then the field.
  for (const [, attribute, field, type] of text.matchAll(/#\[arg\(([^\]]*)\)\]\s*(?:pub )?(?:r#)?(\w+): (\w+)/g)) {
    if (!/\blong\b/.test(attribute!)) continue;
    const name = /long = "([\w-]+)"/.exec(attribute!)?.[1] ?? field!.replaceAll('_', '-');
    flags.add(name);
    if (type === 'bool') switches.add(name);
    const variable = /env = "(\w+)"/.exec(attribute!)?.[1];
    if (variable !== undefined) variables.add(variable);
  }
  const commands = text.matchAll(
    /#\[derive\(Subcommand\)\]\s*(?:pub )?enum (?:Command|Task|Noun|Deploy) \{([\s\S]*?)\n\}/g,
  );
  const variants = [...commands].flatMap(([, body]) => [...body!.matchAll(/^ {4}([A-Z]\w*)/gm)]);
  const subcommands = new Set(variants.map(([, variant]) => variant!.toLowerCase()));
  return { flags, switches, variables, subcommands, isListed: isListed(name), drainSeconds: drain(name) };
}

/** A crate of the workspace with a binary of this name. */
function isListed(name: string): boolean {
  const members = /members = \[([^\]]*)\]/.exec(source('Cargo.toml'))?.[1] ?? '';
  const manifest = source(`${name}/Cargo.toml`);
  const bins = [...manifest.matchAll(/\[\[bin\]\]\s*name = "([\w-]+)"/g)].map(([, bin]) => bin);
  return (
    members.includes(`"${name}"`) && (bins.length === 0 ? manifest.includes(`name = "${name}"`) : bins.includes(name))
  );
}

function drain(name: string): number {
  const [path, constant] =
    {
      cell: ['cell/src/main.rs', 'SHUTDOWN_PATIENCE'],
      router: ['router/src/limits.rs', 'SHUTDOWN_TIMEOUT'],
      'control-plane': ['control-plane/src/main.rs', 'DRAIN_MAX'],
    }[name] ?? [];
  if (path === undefined) return 0;
  const seconds = new RegExp(`const ${constant}: Duration = Duration::from_secs\\((\\d+)\\)`).exec(source(path))?.[1];
  if (seconds === undefined) throw new Error(`${path} has no ${constant}`);
  return Number(seconds);
}
