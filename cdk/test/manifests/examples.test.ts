import { describe, expect, it } from 'vitest';
import { findings } from '../../../kubernetes/lib/invariants.ts';
import { manifests } from '../../../kubernetes/lib/stacks.ts';
import { copy, expected, expectedOfTwo, settings, two } from './copies.ts';

it.each([...expected.keys()])('%s is as it must be', (stack) => {
  expect(findings(copy(stack).all, expected.get(stack)!)).toEqual([]);
});

it('there are manifests for every stack, and for nothing else', () => {
  expect([...manifests(settings).keys()].sort()).toEqual([...expected.keys()].sort());
});

describe('of a cell in two Regions', () => {
  it.each([...expectedOfTwo.keys()])('%s is as it must be', (stack) => {
    expect(findings(copy(stack, two).all, expectedOfTwo.get(stack)!)).toEqual([]);
  });
});
