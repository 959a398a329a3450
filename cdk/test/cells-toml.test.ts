import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseCells, read, waves } from '../lib/cells-toml.ts';
import { onAws } from '../lib/deployment-config.ts';
import { roleArn, tablesRole, zonesRole } from '../lib/names.ts';

const fixtures = (folder: string) => {
  const path = fileURLToPath(new URL(`../../topology/fixtures/${folder}/`, import.meta.url));
  return readdirSync(path).map((file) => [file, readFileSync(path + file, 'utf8')] as const);
};

/** `# key: value` in the first lines of a fixture. */
const said = (text: string, key: string) => new RegExp(`^# ${key}: (.*)$`, 'm').exec(text)?.[1];

describe('sound files are taken and make the waves that they say', () => {
  const all = fixtures('valid');
  it('are there', () => expect(all.length).toBeGreaterThanOrEqual(4));
  it.each(all)('%s', (_, text) => {
    const shown = waves(parseCells(text))
      .map((wave) => wave.join(' '))
      .join(' | ');
    expect(shown).toBe(said(text, 'waves'));
  });
});

it('roles have the names by which the control plane asks for them', () => {
  const [, text] = fixtures('valid').find(([file]) => file === 'on-aws.toml')!;
  const config = onAws(parseCells(text));
  expect(roleArn(config.aws.router_account, zonesRole(config))).toBe(said(text, 'role of the zones'));
  const { account, id } = config.cells[1]!;
  expect(roleArn(account, tablesRole(config, id))).toBe(said(text, 'role of the tables of cell-2'));
});

describe('unsound files are refused for what they say', () => {
  const all = fixtures('invalid');
  it('are there', () => expect(all.length).toBeGreaterThanOrEqual(10));
  it.each(all)('%s', (_, text) => {
    expect(() => parseCells(text)).toThrow(said(text, 'rule') ?? 'cells.toml:');
  });
});

it("the local fleet's own file is sound, and so is the example", () => {
  for (const file of ['../../cells.toml', '../example/cells.toml']) {
    expect(read(fileURLToPath(new URL(file, import.meta.url))).cells).toHaveLength(3);
  }
});
