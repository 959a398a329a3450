/**
 * Holds written manifests against kubernetes/lib/invariants.ts, and containers/Containerfile against what they start.
 *
 *   npx tsx ../kubernetes/check.ts --deployment FOLDER --in FOLDER      (in cdk/)
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { deployment } from '../cdk/lib/settings.ts';
import { parseAllDocuments } from '../cdk/lib/yaml.ts';
import { checkContainers } from './lib/containers.ts';
import { expectations } from './lib/expectations.ts';
import { findings } from './lib/invariants.ts';

const {
  values: { deployment: named, in: folder },
} = parseArgs({ options: { deployment: { type: 'string' }, in: { type: 'string' } } });
if (!named || !folder) {
  console.error('say --deployment FOLDER --in FOLDER');
  process.exit(2);
}
const expected = expectations(deployment(named).config);
const found = [...expected].flatMap(([stack, one]) => {
  const files = readdirSync(join(folder, stack)).filter((file) => file.endsWith('.yaml'));
  const documents = files.flatMap((file) =>
    parseAllDocuments(readFileSync(join(folder, stack, file), 'utf8')).map((document) => document.toJS()),
  );
  return findings(documents, one).map((what) => `${stack}: ${what}`);
});
found.push(...checkContainers());
if (found.length > 0) {
  console.error(found.join('\n'));
  process.exit(1);
}
console.log(`${expected.size} stacks and their containers are as they must be`);
