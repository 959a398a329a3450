import { describe, expect, it } from 'vitest';
import { findings } from '../../../kubernetes/lib/invariants.ts';
import { written } from '../../../kubernetes/lib/stacks.ts';
import { SECOND, WAITING, cell, copy, expectedOfTwo, foundAfter, pod, settings, two } from './copies.ts';
import type { Mistake, Parsed } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'a zone is forgotten',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === 'cell-eu-west-1b'),
          1,
        ),
      'stand in zones',
    ],
    [
      'a zone has more than another',
      ({ get }) => {
        cell(get).spec.replicas = 2;
      },
      'different numbers',
    ],
    [
      'each zone has more than one process of a cell',
      ({ all }) => {
        for (const one of all) if (one.kind === 'Deployment' && one.spec.replicas === 1) one.spec.replicas = 2;
      },
      'several processes of a cell have one address',
    ],
    [
      'too few are left without a zone',
      ({ get }) => {
        set(cell(get), '--max-tps=', '2000');
      },
      'take 4000 writes a second of 5000',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});

describe('of a cell in two Regions', () => {
  it.each([
    ['waits for what it is at home', 'cell-1', (args: string[]) => args.push('--standby'), 'waits at home'],
    [
      'serves before it is asked to',
      SECOND,
      (args: string[]) => args.splice(args.indexOf('--standby'), 1),
      'serves without being asked to',
    ],
    [
      'works in the other Region',
      SECOND,
      (args: string[]) => (args[args.indexOf('--region=eu-central-1')] = '--region=eu-west-1'),
      'works in eu-west-1, and runs in eu-central-1',
    ],
  ])('one that %s is found', (_, stack, mistake, words) => {
    const all = copy(stack, two);
    mistake(pod(all.all.find((one) => one.kind === 'Deployment' && one.spec.replicas === 1)).containers[0].args);
    expect(findings(all.all, expectedOfTwo.get(stack)!).join('\n')).toContain(words);
  });

  it.each([
    [
      'says how many processes run',
      (all: Parsed[], name: string) => {
        const applied = all.find((one) => one.metadata.name === name && one.spec.replicas === undefined);
        applied.spec.replicas = 1;
      },
      'is started or stopped by being applied',
    ],
    [
      'is not created without a process before',
      (all: Parsed[], name: string) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === name && one.spec.replicas === 0),
          1,
        ),
      'runs before it is started',
    ],
  ])('a control plane that waits and %s is found', (_, mistake, words) => {
    const all = copy(WAITING, two).all;
    mistake(all, 'control-plane-eu-central-1a');
    expect(findings(all, expectedOfTwo.get(WAITING)!).join('\n')).toContain(
      `Deployment control-plane-eu-central-1a: ${words}`,
    );
  });
});

it('a cell grows by the cores of its one process in each zone, up to what a node has', () => {
  const cellOf = (max_tps: number) => {
    const { config } = settings;
    const cells = config.cells.map((one) => ({ ...one, max_tps }));
    return written({ ...settings, config: { ...config, cells } }).get('cell-1/cell.yaml')!;
  };
  for (const [max_tps, cpu, share] of [
    [0, '1', 0],
    [5_000, '1', 2_500],
    [10_000, '2', 5_000],
    [80_000, '16', 40_000],
  ] as const) {
    const text = cellOf(max_tps);
    expect(text.match(/cpu: "(\d+)"/)![1], `${max_tps}`).toBe(cpu);
    expect(text).toContain(`--max-tps=${share}`);
    expect(text.match(/replicas: 1$/gm)).toHaveLength(3);
  }
  expect(() => cellOf(80_001)).toThrow(
    'cell-1: with max_tps = 80001, its process in a zone takes 17 cores, of at most 16',
  );
});

function set(deployment: Parsed, start: string, value: string): void {
  const args: string[] = pod(deployment).containers[0].args;
  args[args.findIndex((arg) => arg.startsWith(start))] = start + value;
}
