import { describe, expect, it } from 'vitest';
import { foundAfter } from './copies.ts';
import type { Mistake } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'a word that the schema lets pass',
      ({ get }) => {
        get('Service', 'cell').spec.ports[0].protocol = 'TPC';
      },
      'protocol TPC',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});
