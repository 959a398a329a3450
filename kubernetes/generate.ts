/**
 * Writes the manifests of every stack, a folder for each.
 *
 *   npx tsx ../kubernetes/generate.ts --deployment FOLDER --out FOLDER      (in cdk/)
 *   … --check          writes nothing; fails where the second folder holds anything else
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { load } from './lib/settings.ts';
import { BESIDE, written } from './lib/stacks.ts';

const {
  values: { deployment, out, check },
} = parseArgs({ options: { deployment: { type: 'string' }, out: { type: 'string' }, check: { type: 'boolean' } } });
if (!deployment || !out) {
  console.error('say --deployment FOLDER --out FOLDER');
  process.exit(2);
}
const files = written(load(deployment));
const there = existsSync(out)
  ? readdirSync(out, { recursive: true, encoding: 'utf8' }).filter(
      (path) => path.endsWith('.yaml') || (path.includes('/') && BESIDE.includes(basename(path))),
    )
  : [];
const stale = [
  ...there.filter((path) => !files.has(path)),
  ...[...files]
    .filter(([path, text]) => !there.includes(path) || readFileSync(join(out, path), 'utf8') !== text)
    .map(([path]) => path),
];
if (check) {
  if (stale.length > 0) {
    console.error(`not what cells.toml makes: ${stale.join(', ')}`);
    process.exit(1);
  }
  console.log(`${files.size} files are up to date`);
} else {
  for (const path of there) if (!files.has(path)) rmSync(join(out, path));
  for (const [path, text] of files) {
    mkdirSync(dirname(join(out, path)), { recursive: true });
    writeFileSync(join(out, path), text);
  }
  console.log(`${files.size} files in ${out}`);
}
