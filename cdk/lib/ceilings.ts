/**
 * What AWS takes of a stack, said at synth and in words: a deployment of too many cells is refused
 * here, not half-way through its deploy.
 */
import { CfnElement, CfnResource, Stack } from 'aws-cdk-lib';
import { CfnRole } from 'aws-cdk-lib/aws-iam';
import { CfnBucketPolicy } from 'aws-cdk-lib/aws-s3';

const RESOURCES_MAX = 500;
const BUCKET_POLICY_MAX = 20_480;
/** Of all inline policies of a role together. */
const ROLE_POLICIES_MAX = 10_240;
const WHY = 'use shorter names, or fewer cells in this deployment (cdk/README.md, "How large")';

export function ceilings(stack: Stack): void {
  stack.node.addValidation({ validate: () => above(stack) });
}

function above(stack: Stack): string[] {
  const all = stack.node
    .findAll()
    .filter((one): one is CfnElement => CfnElement.isCfnElement(one) && one.stack === stack);
  const size = (value: unknown) => JSON.stringify(stack.resolve(value) ?? '').length;
  const found = all.flatMap((one): [string, number, number][] => {
    if (one instanceof CfnBucketPolicy)
      return [['the policy of a bucket', size(one.policyDocument), BUCKET_POLICY_MAX]];
    if (one instanceof CfnRole) return [['the policies of a role', size(one.policies), ROLE_POLICIES_MAX]];
    return [];
  });
  found.push(['the number of resources', all.filter((one) => one instanceof CfnResource).length, RESOURCES_MAX]);
  return found
    .filter(([, is, most]) => is > most)
    .map(([what, is, most]) => `${stack.stackName}: ${what} is ${is}, and AWS takes ${most}: ${WHY}`);
}
