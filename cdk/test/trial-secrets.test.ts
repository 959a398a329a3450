import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ROOT } from '../lib/settings.ts';
import { parseAllDocuments } from '../lib/yaml.ts';
import { Sandbox } from './scripts.ts';

const sandbox = new Sandbox();
afterAll(() => rmSync(sandbox.folder, { recursive: true }));
for (const folder of ['secrets', 'keys']) mkdirSync(join(sandbox.folder, folder));
const files = ['ca.pem', 'jwks.json', 'pipeline.token', 'canaries.token'];
for (const name of ['router', 'control-plane', 'cell-1', 'monitor', 'public']) files.push(`${name}.pem`, `${name}.key`);
for (const file of files) writeFileSync(join(sandbox.folder, 'secrets', file), `text of ${file}`);
for (const file of ['cell-1.pem', 'cell-1.pub']) writeFileSync(join(sandbox.folder, 'keys', file), `key in ${file}`);

it.each(['cell-1', 'router', 'control-plane'])(
  'the keys of a local fleet are all that the manifests of %s need',
  (stack) => {
    const { status, said } = sandbox.run('trial-secrets', [sandbox.folder, stack], {});
    expect(status, said).toBe(0);
    const made = parseAllDocuments(said).map((one) => one.toJS());
    const names = made.map((one) => `${one.kind.toLowerCase()}/${one.metadata.name}`);
    const needs = readFileSync(join(ROOT, 'kubernetes/example', stack, 'needs'), 'utf8')
      .trim()
      .split('\n');
    expect(names).toEqual(expect.arrayContaining(needs));
    const [mesh] = made.map((one) => one.data);
    expect(Buffer.from(mesh['tls.crt'], 'base64').toString()).toBe(`text of ${stack}.pem`);
  },
);
