import { describe, expect, it } from 'vitest';
import { findings } from '../../../kubernetes/lib/invariants.ts';
import { SECOND, cell, copy, expectedOfTwo, foundAfter, pod, settings, two } from './copies.ts';
import type { Mistake } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'killed while draining',
      ({ get }) => {
        pod(cell(get)).terminationGracePeriodSeconds = 28;
      },
      'killed 28 s',
    ],
    [
      'no pause',
      ({ get }) => {
        delete pod(cell(get)).containers[0].lifecycle;
      },
      'stops after undefined s',
    ],
    [
      'a pause shorter than load balancers need',
      ({ get }) => {
        pod(cell(get)).containers[0].lifecycle.preStop.sleep.seconds = 20;
      },
      'load balancers need 120 s to leave it, and it stops after 20 s',
    ],
    [
      'ready before load balancers know it',
      ({ get }) => {
        delete get('Namespace', 'wallet').metadata.labels['eks.amazonaws.com/pod-readiness-gate-inject'];
      },
      'before load balancers know them',
    ],
    [
      'bound after its pods are made',
      ({ all }) =>
        all.push(
          ...all.splice(
            all.findIndex((one) => one.kind === 'TargetGroupBinding'),
            1,
          ),
        ),
      'TargetGroupBinding cell: comes after',
    ],
    [
      'alive only when ready',
      ({ get }) => {
        pod(cell(get)).containers[0].livenessProbe = pod(cell(get)).containers[0].readinessProbe;
      },
      'livenessProbe asks',
    ],
    [
      'two leave at once',
      ({ get }) => {
        get('PodDisruptionBudget', 'cell').spec.maxUnavailable = 2;
      },
      'more than one may leave',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});

describe('of a cell in two Regions', () => {
  it('one that is not ready while it waits is found, as is an image of the other Region', () => {
    const all = copy(SECOND, two);
    const deployment = all.get('Deployment', 'cell-eu-central-1a');
    pod(deployment).containers[0].readinessProbe.exec.command.push('https://cell.wallet.internal:8091/readyz');
    pod(all.get('Deployment', 'collector')).containers[0].image = settings.images.collector;
    const found = findings(all.all, expectedOfTwo.get(SECOND)!);
    expect(found).toEqual([
      expect.stringContaining('readinessProbe asks https://cell.wallet.internal:8091/readyz'),
      expect.stringContaining('is not of the registry in eu-central-1'),
    ]);
  });
});
