/** The pipeline, an app of its own: in one with the cells' stacks, everything would be synthesized twice. */
import { App } from 'aws-cdk-lib';
import { judged } from '../lib/nag.ts';
import { PipelineStack } from '../lib/pipeline-stack.ts';
import type { Source } from '../lib/pipeline-stack.ts';
import { settings } from '../lib/settings.ts';

/** A placeholder; `-c source='{"repository":…,"branch":…,"connection":…}'` or cdk.json names the real one. */
const NOBODYS: Source = {
  repository: 'example/wallet',
  branch: 'main',
  connection: 'arn:aws:codeconnections:eu-west-1:200000000000:connection/00000000-0000-0000-0000-000000000000',
};

const app = new App();
const asked: unknown = app.node.tryGetContext('source');
const source = typeof asked === 'string' ? (JSON.parse(asked) as Source) : ((asked as Source | undefined) ?? NOBODYS);
new PipelineStack(app, 'pipeline', { ...settings(app), source });
judged(app);
app.synth();
