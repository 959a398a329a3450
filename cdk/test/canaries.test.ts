import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { load } from '../../kubernetes/lib/settings.ts';
import { written } from '../../kubernetes/lib/stacks.ts';
import { EXAMPLE } from '../lib/settings.ts';
import { parseAllDocuments } from '../lib/yaml.ts';
import { Sandbox } from './scripts.ts';
import { exampleText, resources, synthesized } from './synthesized.ts';

type Parsed = any;
const settings = load(EXAMPLE);

/** The control plane's manifests, parsed. */
function controlPlane(changed: Partial<typeof settings> = {}): Parsed[] {
  const files = written({ ...settings, ...changed });
  return parseAllDocuments(files.get('control-plane/control-plane.yaml')!).map((one) => one.toJS());
}
const containers = (documents: Parsed[]): Parsed[] =>
  documents.filter(({ kind }) => kind === 'Deployment').map((one) => one.spec.template.spec.containers[0]);
const flags = (documents: Parsed[]) =>
  containers(documents).map(({ args }) => args.filter((arg: string) => arg.startsWith('--canary-')));

describe('canaries', () => {
  it('ask under the public name, in all zones together as often as on one machine', () => {
    const expected = [
      '--canary-router=https://wallet.example.com:443',
      '--canary-token=/etc/wallet/canaries/token',
      '--canary-pause-ms=6000',
    ];
    expect(flags(controlPlane())).toEqual([expected, expected, expected]);
  });

  it('believe an authority of the deployment only where settings.json says so', () => {
    for (const given of flags(controlPlane({ privateAuthority: true })))
      expect(given).toContain('--canary-ca=/etc/wallet/canaries/ca.crt');
  });

  it('have a token that has to be there before, in a Secret', () => {
    const needs = written(settings).get('control-plane/needs')!.split('\n');
    expect(needs).toContain('secret/canaries');
    for (const { volumeMounts } of containers(controlPlane()))
      expect(volumeMounts).toContainEqual({ name: 'canaries', mountPath: '/etc/wallet/canaries', readOnly: true });
  });

  it('reach the public address, past the policy and out of the network', () => {
    const policy = controlPlane().find(({ metadata }) => metadata.name === 'allow-control-plane');
    expect(policy.spec.egress).toContainEqual({
      to: [{ ipBlock: { cidr: '0.0.0.0/0' } }],
      ports: [{ port: 443, protocol: 'TCP' }],
    });
    const stack = synthesized(exampleText).get('wallet-control-plane')!;
    expect(resources(stack, 'AWS::EC2::NatGateway')).toHaveLength(3);
  });

  it('raise alerts in the cluster that asks', () => {
    const text = written(settings).get('control-plane/monitoring.yaml')!;
    expect(text.match(/alert: Canary\w+/g)).toEqual([
      'alert: CanaryFails',
      'alert: CanaryRefused',
      'alert: CanarySilent',
    ]);
  });
});

describe('the public certificate of a trial', () => {
  const sandbox = new Sandbox();
  const secrets = join(sandbox.folder, 'secrets');
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  const openssl = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('openssl', args, { cwd: secrets, encoding: 'utf8' });
    expect(status, stderr).toBe(0);
    return stdout;
  };

  it('is for the domain, and from the authority of the fleet', () => {
    mkdirSync(secrets);
    const authority = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
    openssl('req', ...authority, '-subj', '/CN=local wallet fleet', '-keyout', 'ca.key', '-out', 'ca.pem');
    const { status, said } = sandbox.run('trial-certificate', [sandbox.folder, 'wallet.example.com'], {});
    expect(status, said).toBe(0);
    const verified = openssl('verify', '-CAfile', 'ca.pem', '-verify_hostname', 'wallet.example.com', 'public.pem');
    expect(verified).toContain('public.pem: OK');
    const ofKey = openssl('pkey', '-in', 'public.key', '-pubout');
    expect(openssl('x509', '-in', 'public.pem', '-noout', '-pubkey')).toBe(ofKey);
    expect(readFileSync(join(secrets, 'public.key'), 'utf8')).toContain('BEGIN PRIVATE KEY');
  });

  it('is left as it was where the fleet has no authority', () => {
    const { status, said } = sandbox.run('trial-certificate', ['/nowhere', 'wallet.example.com'], {});
    expect(status).not.toBe(0);
    expect(said).toContain('/nowhere/secrets/ca.pem');
  });
});
