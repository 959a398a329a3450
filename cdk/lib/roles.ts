/** Roles of pods, and those that another account's role may become. Trusted by name: the other need not exist yet. */
import { Stack } from 'aws-cdk-lib';
import {
  AccountPrincipal,
  CfnPolicy,
  PolicyDocument,
  PrincipalWithConditions,
  Role,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import type { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';

export interface RoleForAnother {
  readonly roleName: string;
  /** The role that may become this one, or the roles. */
  readonly account: string;
  readonly trusted: string | readonly string[];
  /** None: it is known by its name alone, as by a cluster. */
  readonly statements: PolicyStatement[];
}

/** Account and name in the ARN of a role, which settings.ts has judged. */
export function parsedRole(arn: string): { account: string; trusted: string } {
  const [, account, trusted] = /^arn:aws:iam::([0-9]{12}):role\/(.+)$/.exec(arn)!;
  return { account: account!, trusted: trusted! };
}

export function roleForAnother(
  scope: Construct,
  id: string,
  { roleName, account, trusted, statements }: RoleForAnother,
): Role {
  const names = typeof trusted === 'string' ? [trusted] : trusted;
  const arns = names.map((name) => `arn:aws:iam::${account}:role/${name}`);
  const who = { ArnEquals: { 'aws:PrincipalArn': arns.length === 1 ? arns[0] : arns } };
  return new Role(scope, id, {
    roleName,
    description: `For ${names.join(' and ')} of account ${account} alone`,
    assumedBy: new PrincipalWithConditions(new AccountPrincipal(account), who),
    ...(statements.length > 0 && { inlinePolicies: { use: new PolicyDocument({ statements }) } }),
  });
}

/** For pods of a service account in a cluster of this account and Region, which need not exist yet. */
export function podRole(
  scope: Construct,
  id: string,
  /** `namespace/name`. */
  serviceAccount: string,
  cluster: string,
  { statements, roleName }: { statements: PolicyStatement[]; roleName?: string | undefined },
): Role {
  const { account, region } = Stack.of(scope);
  return new Role(scope, id, {
    roleName,
    description: `Pods of ${serviceAccount} in ${cluster}`,
    assumedBy: new ServicePrincipal('pods.eks.amazonaws.com', {
      conditions: {
        StringEquals: { 'aws:SourceAccount': account },
        ArnEquals: { 'aws:SourceArn': `arn:aws:eks:${region}:${account}:cluster/${cluster}` },
      },
    }).withSessionTags(),
    inlinePolicies: { use: new PolicyDocument({ statements }) },
  });
}

/**
 * Adds to a role that the same account's stack in another Region makes: roles are of all Regions, the keys of tables are
 * not. That stack has to be there first.
 */
export function alsoForRole(scope: Construct, id: string, roleName: string, statements: PolicyStatement[]): void {
  const policyName = `in-${Stack.of(scope).region}`;
  new CfnPolicy(scope, id, { policyName, roles: [roleName], policyDocument: new PolicyDocument({ statements }) });
}
