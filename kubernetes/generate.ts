/**
 * Writes the manifests of every stack, a folder for each.
 *
 *   npx tsx ../kubernetes/generate.ts --cells cells.toml --settings settings.json --out FOLDER      (in cdk/)
 *   … --check          writes nothing; fails where FOLDER holds anything else
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { load } from './lib/settings.ts';
import { manifests, written } from './lib/stacks.ts';

const {
  values: { cells, settings, out, check },
} = parseArgs({
  options: {
    cells: { type: 'string' },
    settings: { type: 'string' },
    out: { type: 'string' },
    check: { type: 'boolean' },
  },
});
if (!cells || !settings || !out) {
  console.error('say --cells FILE --settings FILE --out FOLDER');
  process.exit(2);
}
const files = written(manifests(load(cells, settings)));
const there = existsSync(out)
  ? readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.yaml'))
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
