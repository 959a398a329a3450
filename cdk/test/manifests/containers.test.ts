import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { containerFindings } from '../../../kubernetes/lib/containers.ts';
import { binary } from '../../../kubernetes/lib/sources.ts';

it('flags are read off the sources', () => {
  const { flags, variables, subcommands } = binary('cell');
  expect([...flags]).toEqual(expect.arrayContaining(['id', 'table-prefix', 'mesh-ca', 'checkpoint-key', 'max-tps']));
  expect([...variables]).toContain('CELL_TABLE_PREFIX');
  expect([...subcommands]).toEqual(['serve', 'tables', 'ledger']);
  expect([...binary('control-plane').subcommands]).toContain('bootstrap');
  expect(flags.has('cell')).toBe(false);
});

it.each([
  ['an image that is not built', '--bin router ', '', 'router is not built'],
  [
    'another binary',
    'ENTRYPOINT ["/usr/local/bin/cell"]',
    'ENTRYPOINT ["/usr/local/bin/ctl"]',
    'cell does not start cell',
  ],
  ['root', 'USER 65532:65532', '', 'does not run as 65532'],
  [
    'a base that cannot be pinned',
    'FROM ${RUNTIME} AS packages',
    'FROM debian AS packages',
    'debian cannot be given by digest',
  ],
  ['a shell', 'FROM scratch AS runtime', 'FROM ${RUNTIME} AS runtime', 'has more than its processes need'],
  ['probes without curl', ' curl', '', 'has no curl'],
])('the containers: %s', (_, is, becomes, words) => {
  const source = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
  const [text, ignored] = [source('containers/Containerfile'), source('.containerignore')];
  expect(containerFindings(text, ignored, ['cell'])).toEqual([]);
  expect(containerFindings(text.replaceAll(is, becomes), ignored, ['cell']).join('\n')).toContain(words);
  expect(containerFindings(text, ignored, ['cell', 'wallet'])).toEqual([expect.stringContaining('wallet is left out')]);
});
