/**
 * The stacks, each for itself: `npx cdk deploy cell-1`. The pipeline is an app of its own
 * (pipeline.ts).
 */
import { App } from 'aws-cdk-lib';
import { all } from '../lib/deployment.ts';
import { judged } from '../lib/nag.ts';
import { deployment } from '../lib/settings.ts';

const app = new App();
all(app, deployment());
judged(app);
app.synth();
