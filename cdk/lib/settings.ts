/**
 * The inputs of an app: which cells.toml (CELLS_TOML, or the context `cells`), and the private services known so far.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { App } from 'aws-cdk-lib';
import { read } from './cells-toml.ts';
import { onAws } from './deployment-config.ts';
import type { PrivateServices, Settings } from './deployment-config.ts';

export const EXAMPLE = fileURLToPath(new URL('../cells.example.toml', import.meta.url));

export function settings(app: App): Settings & { readonly path: string } {
  const path = resolve(process.env['CELLS_TOML'] ?? (app.node.tryGetContext('cells') as string | undefined) ?? EXAMPLE);
  return { config: onAws(read(path)), services: beside(path), path };
}

/** `private-services.json` beside cells.toml: name → endpoint service, as the stacks' outputs say. */
function beside(path: string): PrivateServices {
  const file = join(dirname(path), path === EXAMPLE ? 'private-services.example.json' : 'private-services.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as PrivateServices) : {};
}
