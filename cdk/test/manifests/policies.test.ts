import { describe, expect, it } from 'vitest';
import { foundAfter } from './copies.ts';
import type { Mistake, Parsed } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'spans that are sent nowhere',
      ({ get }) => {
        get('Service', 'collector').metadata.name = 'elsewhere';
      },
      'sends its spans to no service',
    ],
    [
      'spans that may not leave',
      ({ get }) => {
        get('NetworkPolicy', 'allow-cell').spec.egress.splice(2, 1);
      },
      'its spans are not let out',
    ],
    [
      'spans that may not arrive',
      ({ get }) => {
        get('NetworkPolicy', 'allow-collector').spec.ingress = [];
      },
      'its spans are not let in',
    ],
    [
      'nothing is denied',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === 'deny-all'),
          1,
        ),
      'not everything is denied',
    ],
    [
      'nothing is denied where logs are carried',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.metadata.name === 'deny-all' && one.metadata.namespace === 'wallet-logs'),
          1,
        ),
      'not everything is denied',
    ],
    [
      'every port is let through',
      ({ get }) => {
        delete get('NetworkPolicy', 'allow-cell').spec.egress[2].ports;
      },
      'lets every port',
    ],
    [
      'a policy that selects no pod',
      ({ get }) => {
        get('NetworkPolicy', 'allow-cell').spec.podSelector.matchLabels = { a: 'b' };
      },
      'selects no pod',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});

describe.each(['cells', 'routers'])('the job that asks for a version of %s', (of) => {
  it.each([['is let out by no policy', (made: Parsed) => (made.metadata.namespace = 'other'), 'has not one policy']])(
    'is found where it %s',
    (_, mistake, words) => {
      expect(foundAfter(({ get }) => mistake(get('Job', `deploy-${of}`)), 'control-plane')).toContain(words);
    },
  );
});
