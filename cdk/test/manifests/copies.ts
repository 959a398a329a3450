/**
 * Manifests of the examples, to make a mistake in: each copy is a new one, so no test sees what another has done to its
 * own. It never synthesizes a stack: that takes seconds.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectations } from '../../../kubernetes/lib/expectations.ts';
import { findings } from '../../../kubernetes/lib/invariants.ts';
import { load } from '../../../kubernetes/lib/settings.ts';
import { manifests } from '../../../kubernetes/lib/stacks.ts';
import { EXAMPLE } from '../../lib/settings.ts';

const folderOf = (example: string) => fileURLToPath(new URL(`../../${example}`, import.meta.url));

export const settings = load(EXAMPLE);
export const expected = expectations(settings.config);
export const two = load(folderOf('example-two-regions'));
export const split = load(folderOf('example-split-roles'));
export const expectedOfTwo = expectations(two.config);
/** The cell's stack in its second Region. */
export const SECOND = 'cell-1-eu-central-1';
/** The control plane's stack there. */
export const WAITING = 'control-plane-eu-central-1';
export type Parsed = any;

interface Copy {
  readonly all: Parsed[];
  readonly get: (kind: string, name: string) => Parsed;
}

/** A copy of a stack's manifests, and a way to find one of them. */
export function copy(stack: string, of = settings): Copy {
  const all: Parsed[] = structuredClone([...manifests(of).get(stack)!.values()].flat());
  const get = (kind: string, name: string) => {
    const found = all.find((one) => one.kind === kind && one.metadata.name === name);
    if (!found) throw new Error(`no ${kind} ${name}`);
    return found;
  };
  return { all, get };
}

/** A deployment with something else in its settings.json. */
export function loadedWith(changed: object, of = 'example'): void {
  const folder = mkdtempSync(join(tmpdir(), 'wallet-settings-'));
  cpSync(folderOf(of), folder, { recursive: true });
  const given = JSON.parse(readFileSync(join(folder, 'settings.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ ...given, ...changed }));
  try {
    load(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What is wrong, where the mistake says, and what a finding says of it. */
export type Mistake = [string, (of: Copy) => unknown, string];

/** What is found in the example's manifests of a stack once a mistake is made in them. */
export function foundAfter(mistake: (of: Copy) => unknown, stack = 'cell-1'): string {
  const of = copy(stack);
  mistake(of);
  return findings(of.all, expected.get(stack)!).join('\n');
}

export const pod = (deployment: Parsed) => deployment.spec.template.spec;
export const cell = (get: Copy['get']) => get('Deployment', 'cell-eu-west-1a');
/** What a deployment of the cell is created as. */
export const first = (all: Parsed[]) => all.find((one) => one.kind === 'Deployment' && one.spec.replicas === 0);
