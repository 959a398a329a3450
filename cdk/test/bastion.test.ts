import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SESSION } from '../lib/bastion.ts';
import { PORTS } from '../lib/names.ts';
import { EXAMPLE, deployment } from '../lib/settings.ts';
import { Sandbox } from './scripts.ts';
import { exampleText, list, resources, statementsOf, synthesized } from './synthesized.ts';
import type { Synthesized } from './synthesized.ts';

const off = synthesized(exampleText);
const on = synthesized(exampleText, { bastion: true });
const stack = on.get('wallet-control-plane')!;
type Made = Record<string, { Type: string; Properties: any }>;
const made = ({ template }: Synthesized): Made => template.toJSON().Resources;

/** The only resource of a type that is there with the bastion alone, and what refers to it. */
function added(type: string): { id: string; properties: any }[] {
  const before = made(off.get('wallet-control-plane')!);
  return Object.entries(made(stack))
    .filter(([id, one]) => before[id] === undefined && one.Type === type)
    .map(([id, { Properties: properties }]) => ({ id, properties }));
}
const one = (type: string) => {
  const [first, ...more] = added(type);
  expect(more).toEqual([]);
  return first!;
};
const group = (description: string) =>
  added('AWS::EC2::SecurityGroup').find(({ properties }) => properties.GroupDescription === description)!;
const rules = (type: string, id: string) =>
  added(type).filter(({ properties }) => JSON.stringify(properties.GroupId).includes(`"${id}"`));

describe('without a bastion', () => {
  it('there is none: no instance, no endpoint of Session Manager, no role', () => {
    expect(Object.values(made(off.get('wallet-control-plane')!)).map(({ Type }) => Type)).not.toContain(
      'AWS::EC2::Instance',
    );
    expect(JSON.stringify(off.get('wallet-control-plane')!.template.toJSON())).not.toMatch(/[Bb]astion|ssmmessages/);
  });

  it('everything else is the same', () => {
    for (const [name, { template }] of off) {
      if (name !== 'wallet-control-plane') expect(on.get(name)!.template.toJSON()).toEqual(template.toJSON());
    }
    expect(made(stack)).toMatchObject(made(off.get('wallet-control-plane')!));
  });

  it.each([
    ['is the default', {}, false],
    ['can be changed', { bastion: true }, true],
  ])('it %s in settings.json', (_, changed, expected) => {
    expect(changedSettings(changed).bastion).toBe(expected);
  });

  it('it cannot be changed where no operators are named', () => {
    expect(() => changedSettings({ bastion: true, operators: undefined })).toThrow('operators names no role');
  });
});

function changedSettings(changed: object) {
  const folder = mkdtempSync(join(tmpdir(), 'wallet-bastion-'));
  cpSync(EXAMPLE, folder, { recursive: true });
  const given = JSON.parse(readFileSync(join(folder, 'settings.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'settings.json'), JSON.stringify({ ...given, ...changed }));
  try {
    return deployment(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the bastion', () => {
  it('has no public address, no key, and no metadata without a token', () => {
    const { properties } = one('AWS::EC2::Instance');
    expect(properties.KeyName).toBeUndefined();
    expect(properties.InstanceType).toBe('t4g.nano');
    const [card, ...more] = properties.NetworkInterfaces ?? [];
    expect(more).toEqual([]);
    expect(card.AssociatePublicIpAddress).toBe(false);
    expect(card.SubnetId).toEqual({ Ref: one('AWS::EC2::Subnet').id });
    expect(card.GroupSet).toEqual([{ 'Fn::GetAtt': [group('The bastion').id, 'GroupId'] }]);
    expect(properties.BlockDeviceMappings[0].Ebs.Encrypted).toBe(true);
    expect(JSON.stringify(stack.template.toJSON())).toContain('"HttpTokens":"required"');
  });

  it('is in a subnet without a way out of the network', () => {
    const { properties } = one('AWS::EC2::Subnet');
    expect([properties.CidrBlock, properties.MapPublicIpOnLaunch]).toEqual(['10.0.255.0/28', false]);
    expect(added('AWS::EC2::Route')).toEqual([]);
    const blocks = resources(stack, 'AWS::EC2::Subnet').map(({ Properties }) => Properties['CidrBlock'] as string);
    expect(blocks.filter((block) => block.startsWith('10.0.255.'))).toHaveLength(1);
  });

  it('reaches the load balancer of the control plane and Session Manager, and nothing reaches it', () => {
    const [bastion, endpoints] = [group('The bastion'), group('Session Manager, for the bastion')];
    expect(added('AWS::EC2::SecurityGroup')).toHaveLength(2);
    expect(bastion.properties.SecurityGroupIngress).toBeUndefined();
    expect(rules('AWS::EC2::SecurityGroupIngress', bastion.id)).toEqual([]);
    // The endpoints' own subnet. A rule in the group itself takes the place of AWS's own, which allows everything.
    const inside = { CidrIp: '10.0.255.0/28', FromPort: 443, ToPort: 443, IpProtocol: 'tcp' };
    expect(bastion.properties.SecurityGroupEgress).toEqual([expect.objectContaining(inside)]);
    const out = rules('AWS::EC2::SecurityGroupEgress', bastion.id).map(({ properties }) => properties);
    const [balancer, ...more] = resources(stack, 'AWS::ElasticLoadBalancingV2::LoadBalancer');
    expect(more).toEqual([]);
    expect(out).toEqual([
      expect.objectContaining({
        IpProtocol: 'tcp',
        FromPort: PORTS.controlPlane,
        ToPort: PORTS.controlPlane,
        DestinationSecurityGroupId: balancer!.Properties['SecurityGroups'][0],
      }),
    ]);
    const into = rules('AWS::EC2::SecurityGroupIngress', endpoints.id).map(({ properties }) => properties);
    expect(into.map((rule) => rule.SourceSecurityGroupId)).toEqual([{ 'Fn::GetAtt': [bastion.id, 'GroupId'] }]);
  });

  it('has endpoints that carry what its agent may do, and that is all it may do', () => {
    const use = statementsOf(stack, /The bastion:/);
    expect(use).toHaveLength(1);
    const carried = added('AWS::EC2::VPCEndpoint').map(({ properties }) => {
      const [statement, ...more] = properties.PolicyDocument.Statement;
      expect(more).toEqual([]);
      expect(JSON.stringify(statement.Condition.ArnEquals['aws:PrincipalArn'])).toMatch(/BastionRole/);
      expect(properties.SecurityGroupIds).toHaveLength(1);
      return [properties.ServiceName, list(statement.Action)];
    });
    expect(carried.map(([name]) => name)).toEqual([
      'com.amazonaws.eu-west-1.ssm',
      'com.amazonaws.eu-west-1.ssmmessages',
    ]);
    expect(carried.flatMap(([, actions]) => actions)).toEqual(list(use[0]!.Action));
  });

  it('logs each connection', () => {
    const { properties } = one('AWS::EC2::FlowLog');
    expect([properties.TrafficType, properties.ResourceType]).toEqual(['ALL', 'Subnet']);
    expect(properties.ResourceId).toEqual({ Ref: one('AWS::EC2::Subnet').id });
    expect(one('AWS::Logs::LogGroup').properties.RetentionInDays).toBe(90);
  });

  it('lets operators alone forward ports, and gives them no shell', () => {
    const role = resources(stack, 'AWS::IAM::Role').find(
      ({ Properties }) => Properties['RoleName'] === 'wallet-bastion',
    )!;
    expect(role.Properties['AssumeRolePolicyDocument'].Statement[0].Condition).toEqual({
      ArnEquals: { 'aws:PrincipalArn': 'arn:aws:iam::200000000000:role/operators' },
    });
    const [find, start, own, ...more] = statementsOf(stack, /"wallet-bastion"/);
    expect(more).toEqual([]);
    expect([find!.Action, find!.Resource]).toEqual([
      'cloudformation:DescribeStacks',
      'arn:aws:cloudformation:eu-west-1:200000000000:stack/wallet-control-plane/*',
    ]);
    expect(start!.Action).toBe('ssm:StartSession');
    expect(start!.Condition).toEqual({ BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } });
    const [instance, document, ...others] = list(start!.Resource);
    expect(others).toEqual([]);
    expect(JSON.stringify(instance)).toContain(`{"Ref":"${one('AWS::EC2::Instance').id}"}`);
    expect(document).toBe('arn:aws:ssm:eu-west-1::document/AWS-StartPortForwardingSessionToRemoteHost');
    expect(own!.Resource).toBe('arn:aws:ssm:eu-west-1:200000000000:session/${aws:userid}-*');
  });
});

describe('the tunnel', () => {
  const sandbox = new Sandbox();
  afterAll(() => rmSync(sandbox.folder, { recursive: true }));
  /** With outputs of the stack as Amazon's command line prints them. */
  function tunnel(outputs: string, ...port: string[]) {
    sandbox.keep('outputs', outputs);
    sandbox.keep('asked', '');
    sandbox.program(
      'aws',
      `echo "$AWS_ACCESS_KEY_ID $*" >> "$kept/asked"
      case "$1 $2" in
        'sts get-caller-identity') echo arn:aws:sts::200000000000:assumed-role/operators/joe@example.com ;;
        'sts assume-role') echo key secret token ;;
        'cloudformation describe-stacks') cat "$kept/outputs" ;;
      esac`,
    );
    const ran = sandbox.run('tunnel', ['wallet', '200000000000', ...port], {});
    return { ...ran, asked: sandbox.kept('asked').trim().split('\n') };
  }
  const outputs = 'BastionTo\tcp.elb.example\nBastion\ti-1\nBastionLog\tlog\n';
  const start = (port: number) =>
    `key ssm start-session --target i-1 --document-name ${SESSION} ` +
    `--parameters host=cp.elb.example,portNumber=${PORTS.controlPlane},localPortNumber=${port}`;

  it("forwards the control plane's port, as the role of the bastion, under the caller's name", () => {
    const { status, said, asked } = tunnel(outputs);
    expect(status, said).toBe(0);
    const assumed = asked.filter((line) => line.includes('sts assume-role'));
    expect(assumed).toHaveLength(2);
    for (const line of assumed)
      expect(line).toContain(
        '--role-arn arn:aws:iam::200000000000:role/wallet-bastion --role-session-name joe@example.com ',
      );
    expect(asked.at(-1)).toBe(start(8083));
    expect(tunnel(outputs, '9083').asked.at(-1)).toBe(start(9083));
  });

  it('says what to do where there is no bastion', () => {
    const { status, said, asked } = tunnel('None\n');
    expect([status, said]).toEqual([
      1,
      'the stack wallet-control-plane has no bastion: set it in settings.json, and deploy the stack\n',
    ]);
    expect(asked.join('\n')).not.toContain('start-session');
  });
});
