import { describe, expect, it } from 'vitest';
import { cell, foundAfter, pod, settings } from './copies.ts';
import type { Mistake, Parsed } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'a flag that is none',
      ({ get }) => {
        pod(cell(get)).containers[0].args.push('--dynamo=x');
      },
      'takes no --dynamo',
    ],
    [
      'another subcommand',
      ({ get }) => {
        pod(cell(get)).containers[0].args[0] = 'server';
      },
      'takes no server',
    ],
    [
      'a variable that is never read',
      ({ get }) => {
        pod(cell(get)).containers[0].env.push({ name: 'CELL_X', value: '1' });
      },
      'reads no CELL_X',
    ],
    [
      'the archive is looked for in another Region',
      ({ get }) => {
        pod(cell(get)).containers[0].env.at(-1).value = 'us-east-1';
      },
      'looks for the archive in us-east-1, not eu-west-1',
    ],
    [
      'another image',
      ({ get }) => {
        pod(cell(get)).containers[0].image = settings.routerVersions['1.0.0'];
      },
      'is not cell by digest',
    ],
    [
      'a cell is created with no image',
      ({ all }) =>
        all.splice(
          all.findIndex((one) => one.kind === 'Deployment' && one.spec.replicas === 0),
          1,
        ),
      'undefined is not cell by digest',
    ],
    [
      'a secret that is not mounted',
      ({ get }) => {
        pod(cell(get)).containers[0].volumeMounts.shift();
      },
      'nothing is mounted at /etc/wallet/mesh',
    ],
    [
      'a volume that is not there',
      ({ get }) => {
        pod(cell(get)).volumes.shift();
      },
      'no volume mesh',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});

it.each([
  ['has no end', (job: Parsed) => delete job.spec.activeDeadlineSeconds, 'may go on without end'],
  [
    'is taken for a control plane',
    (job: Parsed) => {
      job.spec.template.metadata.labels['app.kubernetes.io/name'] = 'control-plane';
    },
    'is taken for a process of control-plane',
  ],
  ['is another command', (job: Parsed) => pod(job).containers[0].args.push('boot'), 'takes no boot'],
])('a job that %s is found', (_, mistake, words) => {
  expect(foundAfter(({ get }) => mistake(get('Job', 'bootstrap')), 'control-plane')).toContain(words);
});

describe.each(['cells', 'routers'])('the job that asks for a version of %s', (of) => {
  it.each([
    [
      'is of another program',
      (made: Parsed) => (pod(made).containers[0].image = settings.images['control-plane']),
      'is not ctl',
    ],
    ['says what ctl does not know', (made: Parsed) => pod(made).containers[0].args.push('--twice'), 'takes no --twice'],
    ['says nothing of a flag', (made: Parsed) => pod(made).containers[0].args.push('--wait'), 'takes no --wait'],
  ])('is found where it %s', (_, mistake, words) => {
    expect(foundAfter(({ get }) => mistake(get('Job', `deploy-${of}`)), 'control-plane')).toContain(words);
  });
});
