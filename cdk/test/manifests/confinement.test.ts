import { describe, expect, it } from 'vitest';
import { cell, first, foundAfter, pod } from './copies.ts';
import type { Mistake } from './copies.ts';

describe('what is wrong is found', () => {
  const mistakes: Mistake[] = [
    [
      'root',
      ({ get }) => {
        pod(cell(get)).securityContext.runAsUser = 0;
      },
      'may be root',
    ],
    [
      'a capability',
      ({ get }) => {
        pod(cell(get)).containers[0].securityContext.capabilities.add = ['NET_RAW'];
      },
      'keeps capabilities',
    ],
    [
      'the collector may write',
      ({ get }) => {
        pod(get('Deployment', 'collector')).containers[0].securityContext.readOnlyRootFilesystem = false;
      },
      'may write',
    ],
    [
      'an image by tag',
      ({ get }) => {
        pod(cell(get)).containers[0].image = 'wallet/cell:latest';
      },
      'image without a digest',
    ],
    [
      'a cell is created by tag',
      ({ all }) => {
        pod(first(all)).containers[0].image = 'wallet/cell:latest';
      },
      'image without a digest',
    ],
    [
      'a folder of the node, beside our processes',
      ({ get }) => {
        pod(cell(get)).volumes.push({ name: 'node', hostPath: { path: '/var/log/pods' } });
      },
      'cell-eu-west-1a: sees a folder of its node',
    ],
    [
      'another folder of the node',
      ({ get }) => {
        pod(get('DaemonSet', 'log-carrier')).volumes[1].hostPath.path = '/var/log';
      },
      'may do more on its node',
    ],
    [
      'a carrier of logs that may change them',
      ({ get }) => {
        delete pod(get('DaemonSet', 'log-carrier')).containers[0].volumeMounts[1].readOnly;
      },
      'may do more on its node',
    ],
    [
      'a carrier of logs that may be root',
      ({ get }) => {
        pod(get('DaemonSet', 'log-carrier')).securityContext.runAsUser = 0;
      },
      'may be root',
    ],
    [
      'the network of the node',
      ({ get }) => {
        pod(get('DaemonSet', 'log-carrier')).hostNetwork = true;
      },
      'is not apart from its node',
    ],
  ];
  it.each(mistakes)('%s', (_, mistake, words) => {
    expect(foundAfter(mistake)).toContain(words);
  });
});
