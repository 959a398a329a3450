/**
 * Findings of AWS's rules (nag.ts) about what CDK Pipelines writes by itself, each with the reason why it may be so. It
 * must never acknowledge anything of the stages, which are judged as the cells' own app.
 */
import { Validations } from 'aws-cdk-lib';
import type { Stack } from 'aws-cdk-lib';
import { CfnProject } from 'aws-cdk-lib/aws-codebuild';
import { CfnBucket } from 'aws-cdk-lib/aws-s3';
import type { CodePipeline } from 'aws-cdk-lib/pipelines';
import type { Construct } from 'constructs';

/** What it writes for the pipeline itself: its bucket, its projects, and their rights. */
export function acknowledgeWritten(stack: Stack, scopes: Construct[]): void {
  const projects = stack.node
    .findAll()
    .filter((one) => one instanceof CfnProject)
    .map((one) => stack.getLogicalId(one));
  const { account, region } = stack;
  const findings = [
    ...[
      's3:Abort*',
      's3:DeleteObject*',
      's3:GetBucket*',
      's3:GetObject*',
      's3:List*',
      'kms:GenerateDataKey*',
      'kms:ReEncrypt*',
    ].map((action) => `Action::${action}`),
    `Resource::<${stack.getLogicalId(stack.node.findAll().find((one) => one instanceof CfnBucket) as CfnBucket)}.Arn>/*`,
    ...projects.map((id) => `Resource::arn:aws:logs:${region}:${account}:log-group:/aws/codebuild/<${id}>:*`),
    ...projects.map((id) => `Resource::arn:aws:codebuild:${region}:${account}:report-group/<${id}>-*`),
  ];
  for (const scope of scopes) {
    Validations.of(scope).acknowledge(
      {
        id: 'AwsSolutions-S1',
        reason: 'The bucket holds artifacts of the pipeline, which itself records who started what.',
      },
      {
        id: 'AwsSolutions-CB4',
        reason: "Artifacts are encrypted under the pipeline's own key; the projects keep nothing else.",
      },
      ...findings.map((finding) => ({
        id: `AwsSolutions-IAM5[${finding}]`,
        reason: "CDK Pipelines writes it: a project's own log and the artifacts of this pipeline.",
      })),
    );
  }
  Validations.of(stack.node.findChild('Pipeline').node.findChild('UpdatePipeline')).acknowledge(
    {
      id: `AwsSolutions-IAM5[Resource::arn:*:iam::${account}:role/*]`,
      reason: "Restricted by a condition to the roles of the CDK's bootstrap.",
    },
    {
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason: 'DescribeStacks and ListBuckets, by which the pipeline updates itself.',
    },
  );
}

/**
 * Artifacts are copied to each Region in which a stack is deployed; the CDK makes a bucket and a
 * key there.
 */
export function acknowledgeOtherRegions(of: Stack, { pipeline }: CodePipeline): void {
  const elsewhere = Object.entries(pipeline.crossRegionSupport).filter(([region]) => region !== of.region);
  for (const [region, { stack, replicationBucket }] of elsewhere) {
    Validations.of(stack).acknowledge({
      id: 'AwsSolutions-S1',
      reason: `The bucket holds copies of artifacts for ${region}; the pipeline itself records each start and its caller.`,
    });
    Validations.of(pipeline).acknowledge(
      {
        id: `AwsSolutions-IAM5[Resource::arn:aws:s3:::${String(of.resolve(replicationBucket.bucketName))}/*]`,
        reason: `Copies of the artifacts of this pipeline for ${region}.`,
      },
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason:
          'The CDK writes it: the key of another Region has no name here. Policies of keys say which may be used.',
      },
    );
  }
}
