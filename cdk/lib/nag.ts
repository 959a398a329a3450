/** Every stack is judged by AWS's own rules for solutions; what is left of them is acknowledged where it arises. */
import { Validations } from 'aws-cdk-lib';
import type { App } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';

export function judged(app: App): void {
  Validations.of(app).acknowledge(
    {
      id: 'CloudFormation-Validate::W3010',
      reason: 'Zones are named in cells.toml, so that no account is asked which it has.',
    },
    {
      id: 'CloudFormation-Validate::W9009',
      reason: "The CDK itself writes it so; nothing else encrypts the cluster's secrets.",
    },
  );
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app, { verbose: true }));
}
