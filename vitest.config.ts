import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['@veritee/source', 'node'] },
  ssr: { resolve: { conditions: ['@veritee/source', 'node'], externalConditions: ['@veritee/source', 'node'] } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'tools/test/**/*.test.ts'],
    testTimeout: 30_000,
    // How long a condition may take to come true on a machine that does other work besides; it costs nothing where it does.
    expect: { poll: { timeout: 20_000 } },
    maxWorkers: 2,
  },
})
