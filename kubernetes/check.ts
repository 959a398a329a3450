/**
 * Holds written manifests against kubernetes/lib/invariants.ts, and containers/Containerfile against what they start.
 *
 *   npx tsx ../kubernetes/check.ts --deployment FOLDER --in FOLDER      (in cdk/)
 *   … --monitoring FOLDER      writes what each Prometheus and Alertmanager is given, for promtool and amtool
 */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MONITORING } from '../cdk/lib/names.ts';
import { deployment } from '../cdk/lib/settings.ts';
import { parseAllDocuments } from '../cdk/lib/yaml.ts';
import { checkContainers } from './lib/containers.ts';
import { expectations } from './lib/expectations.ts';
import { findings } from './lib/invariants.ts';

const {
  values: { deployment: named, in: folder, monitoring },
} = parseArgs({ options: { deployment: { type: 'string' }, in: { type: 'string' }, monitoring: { type: 'string' } } });
if (!named || !folder) {
  console.error('say --deployment FOLDER --in FOLDER');
  process.exit(2);
}
const expected = expectations(deployment(named).config);
const found = [...expected].flatMap(([stack, one]) => {
  const files = readdirSync(join(folder, stack), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml'))
    .sort();
  const documents = files.flatMap((file) =>
    parseAllDocuments(readFileSync(join(folder, stack, file), 'utf8')).map((document) => document.toJS()),
  );
  if (monitoring !== undefined) keep(join(monitoring, stack), documents);
  return findings(documents, one).map((what) => `${stack}: ${what}`);
});
found.push(...checkContainers());
if (found.length > 0) {
  console.error(found.join('\n'));
  process.exit(1);
}
console.log(`${expected.size} stacks and their containers are as they must be`);

function keep(where: string, documents: { kind: string; metadata: { name: string }; data: Record<string, string> }[]) {
  mkdirSync(where, { recursive: true });
  const given = documents.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === MONITORING);
  for (const [file, text] of Object.entries(given?.data ?? {})) writeFileSync(join(where, file), text);
}
