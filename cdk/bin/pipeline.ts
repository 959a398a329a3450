/**
 * The pipeline, an app of its own: in one with the cells' stacks, everything would be synthesized
 * twice.
 */
import { App } from 'aws-cdk-lib';
import { judged } from '../lib/nag.ts';
import { PipelineStack } from '../lib/pipeline-stack.ts';
import { deployment } from '../lib/settings.ts';

const app = new App();
new PipelineStack(app, 'pipeline', deployment());
judged(app);
app.synth();
