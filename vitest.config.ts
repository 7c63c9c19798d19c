import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['@veritee/source', 'node'] },
  ssr: { resolve: { conditions: ['@veritee/source', 'node'], externalConditions: ['@veritee/source', 'node'] } },
  test: {
    alias: [{ find: /^fast-check$/, replacement: fileURLToPath(new URL('./tools/seeded.ts', import.meta.url)) }],
    include: ['packages/*/test/**/*.test.ts', 'tools/test/**/*.test.ts'],
    // For what hangs, and no measure of speed: a machine may do other work besides.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // How long a condition may take to come true on a machine that does other work besides; it costs nothing where it does.
    expect: { poll: { timeout: 20_000 } },
    // One more than the cores of a small machine: a good part of the tests waits for other processes, or for time to pass.
    maxWorkers: 3,
  },
})
