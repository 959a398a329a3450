import { defineConfig } from 'vitest/config';

// Validation of whole assemblies is what the two synths of scripts/check-cdk are for; here it would cost minutes.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // They start Amazon's and the CDK's own programs, many times: for the nightly run.
    exclude: process.env['WALLET_SLOW'] ? [] : ['test/slow/**'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    env: { CDK_VALIDATION: 'false' },
  },
});
