import { defineConfig } from 'vitest/config';

// Validation of whole assemblies is what the two synths of scripts/check-cdk are for; here it would cost minutes.
export default defineConfig({
  test: {
    // test/slow starts Amazon's and the CDK's own programs, many times: for the nightly run.
    include: [process.env['WALLET_SLOW'] ? 'test/**/*.test.ts' : 'test/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    env: { CDK_VALIDATION: 'false' },
  },
});
