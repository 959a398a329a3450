import { describe, expect, it } from 'vitest';
import { SECOND, WAITING, copy, loadedWith, pod, two } from './copies.ts';

describe('of a cell in two Regions', () => {
  it('a control plane that waits makes no placement, and knows the clusters that the one at home knows', () => {
    expect(copy(WAITING, two).all.filter(({ kind }) => kind === 'Job')).toEqual([]);
    const known = (stack: string) => copy(stack, two).get('ConfigMap', 'clusters').data;
    expect(known(WAITING)).toEqual(known('control-plane'));
    const { args } = pod(copy(WAITING, two).get('Deployment', 'control-plane-eu-central-1a')).containers[0];
    expect(args).toContain('--region=eu-central-1');
  });

  it('nothing is missed that comes to the second Region only when it is needed', () => {
    const alerts = (stack: string) => copy(stack, two).get('ConfigMap', 'monitoring').data['alerts.yml'] as string;
    const named = (stack: string) => [...alerts(stack).matchAll(/alert: (\w+)/g)].map(([, name]) => name!);
    expect(named('router').filter((name) => !named('router-eu-central-1').includes(name))).toEqual(['RequestsUnknown']);
    expect(named('control-plane').filter((name) => !named(WAITING).includes(name))).toEqual(['ControlPlaneDown']);
    expect(named('router-eu-central-1')).toContain('RoutersDown');
  });

  it.each([
    ['a second Region alone', { 'eu-central-1a': 'a' }, 'switches are of eu-central-1a, the zones'],
    ['a zone too few', { 'eu-west-1a': 'a', 'eu-west-1b': 'b' }, 'switches are of eu-west-1a, eu-west-1b, the zones'],
  ])('switches of %s are refused', (_, switches, words) => {
    expect(() => loadedWith({ switches }, 'example-two-regions')).toThrow(words);
  });

  it('the control plane brings it a version in the Region of its zones, from the registry there', () => {
    const { data, binaryData } = copy('control-plane', two).get('ConfigMap', 'clusters');
    const { standbys } = JSON.parse(data['clusters.json']);
    expect(standbys).toEqual({
      'cell-1': {
        zones: ['eu-central-1a', 'eu-central-1b', 'eu-central-1c'],
        images: { '1.0.0': expect.stringContaining('.dkr.ecr.eu-central-1.amazonaws.com/wallet/cell@sha256:') },
        cluster: {
          server: '${wallet-cell-1-eu-central-1.endpoint}',
          certificateAuthority: '/etc/wallet/clusters/cell-1-eu-central-1.pem',
          namespace: 'wallet',
          credentials: {
            eks: {
              name: 'wallet-cell-1-eu-central-1',
              region: 'eu-central-1',
              role: 'arn:aws:iam::300000000001:role/wallet-cell-1-eu-central-1-versions',
            },
          },
        },
      },
    });
    expect(binaryData['cell-1-eu-central-1.pem']).toBe('${wallet-cell-1-eu-central-1.authority}');
    // The registry, and so the placement, has it at the addresses that cells.toml lists.
    const { instances } = two.config.cells[0]!.standby!;
    for (const { address, zone } of instances) expect(address).toBe(`${zone}.${SECOND}.wallet.internal:8091`);
  });
});
