import { describe, expect, it } from 'vitest';
import { foundAfter } from './copies.ts';
import type { Mistake, Parsed } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'its port is closed',
      ({ get }) => {
        get('NetworkPolicy', 'allow-cell').spec.ingress.forEach((rule: Parsed) => {
          rule.ports[0].port = 1;
        });
      },
      'is not let through',
    ],
    [
      'a service without a pod behind it',
      ({ get }) => {
        get('Service', 'cell').spec.selector = { a: 'b' };
      },
      'no pod is behind',
    ],
    [
      'a service to another port',
      ({ get }) => {
        get('Service', 'cell').spec.ports[0].port = 80;
      },
      'not 80',
    ],
    [
      'a target group without pods',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.kind === 'TargetGroupBinding'),
          1,
        ),
      'the stack has CellTargets',
    ],
    [
      'a binding to no service',
      ({ get }) => {
        get('TargetGroupBinding', 'cell').spec.serviceRef.name = 'x';
      },
      'no service x',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});
