/** Roles that another account's role may become. Trusted by name: the other need not exist yet. */
import { AccountPrincipal, PolicyDocument, PrincipalWithConditions, Role } from 'aws-cdk-lib/aws-iam';
import type { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';

export interface RoleForAnother {
  readonly roleName: string;
  /** The role that may become this one. */
  readonly account: string;
  readonly trusted: string;
  readonly statements: PolicyStatement[];
}

export function roleForAnother(
  scope: Construct,
  id: string,
  { roleName, account, trusted, statements }: RoleForAnother,
): Role {
  const who = { ArnEquals: { 'aws:PrincipalArn': `arn:aws:iam::${account}:role/${trusted}` } };
  return new Role(scope, id, {
    roleName,
    description: `For ${trusted} of account ${account} alone`,
    assumedBy: new PrincipalWithConditions(new AccountPrincipal(account), who),
    inlinePolicies: { use: new PolicyDocument({ statements }) },
  });
}
