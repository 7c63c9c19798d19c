import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { buildForBrowser } from './build.ts'

const zipped = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + gzipSync(text, { level: 9 }).length, 0)

test('the client for browsers fits into 60 KB of gzip, and what it reads only where it is needed into 12 more; without a dependency and without Node', async () => {
  const files = await buildForBrowser({
    source: `export { connect, explain, ClientError } from 'veritee/client'
export { parsePolicy, explainPolicy } from 'veritee/policy'
export { parsePem, intelSgxRootCa } from 'veritee/attestation'`,
  })
  for (const { content } of files) expect(String(content)).not.toMatch(/node:|from\s*["'][^./]/)
  const texts = (isLater: boolean): string[] => files.filter((file) => file.isLater === isLater).map(({ content }) => String(content))
  // Release statements where a policy demands some, requests of an external engine that were told as chats, and access tokens.
  expect(texts(true).join('')).toContain('veritee.release-statement.v1')
  expect(texts(false).join('')).not.toContain('veritee.release-statement.v1')
  expect(texts(false).join('')).toContain('crypto.subtle')
  expect(zipped(texts(false))).toBeLessThanOrEqual(60 * 1024)
  expect(texts(true).join('')).toContain('PrivateToken')
  expect(texts(false).join('')).not.toContain('PrivateToken')
  expect(zipped(texts(true))).toBeLessThanOrEqual(12 * 1024)
})
