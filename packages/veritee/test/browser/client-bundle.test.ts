import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { buildForBrowser } from './build.ts'

test('the client for browsers fits into 60 KB of gzip, without a dependency and without Node', async () => {
  const [file, ...others] = await buildForBrowser({
    source: `export { connect, explain, ClientError } from 'veritee/client'
export { parsePolicy, explainPolicy } from 'veritee/policy'
export { parsePem, intelSgxRootCa } from 'veritee/attestation'`,
  })
  const code = String(file?.content)
  expect(others).toEqual([])
  expect(code).not.toMatch(/node:|from\s*["'][^./]/)
  expect(code).toContain('crypto.subtle')
  expect(gzipSync(code, { level: 9 }).length).toBeLessThanOrEqual(60 * 1024)
})
