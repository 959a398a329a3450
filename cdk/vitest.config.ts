import { defineConfig } from 'vitest/config';

// Validation of whole assemblies is what the two synths of scripts/check-cdk are for; here it would cost minutes.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    env: { CDK_VALIDATION: 'false' },
  },
});
