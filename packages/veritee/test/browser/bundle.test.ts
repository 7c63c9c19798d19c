import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { buildForBrowser } from './build.ts'

test('verification and policy fit into 30 KB of gzip, without a dependency and without Node', async () => {
  const [file] = await buildForBrowser({
    source: `export { parseQuote, parseCollateral, verifyQuote, intelSgxRootCa, parsePem, VerificationError } from 'veritee/attestation'
export { parsePolicy, policyFor, evaluate, evaluateGenuineness } from 'veritee/policy'
export { VeriteeError } from 'veritee/errors'`,
  })
  const code = String(file?.content)
  expect(code).toContain('verifyQuote')
  expect(code).not.toMatch(/node:|from\s*["'][^./]/)
  expect(code).toContain('crypto.subtle')
  expect(gzipSync(code, { level: 9 }).length).toBeLessThanOrEqual(30 * 1024)
})
