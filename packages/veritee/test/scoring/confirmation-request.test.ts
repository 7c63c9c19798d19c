import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromUtf8, toHex, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import {
  maxConfirmationRequestLength,
  parseConfirmationRequest,
  signConfirmationRequest,
  verifyConfirmationRequest,
} from '../../src/scoring/index.ts'
import { refusal } from '../bytes/refusal.ts'

const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/confirmation-request.json', import.meta.url), 'utf8')) as {
  readonly requests: readonly { readonly what: string; readonly request: string }[]
  readonly refused: readonly { readonly why: string; readonly request: string; readonly code: string }[]
}
const script = fileURLToPath(new URL('make-confirmation-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0
const [text = ''] = vectors.requests.map(({ request }) => request)

describe('requests for a confirmation: the vectors of the specification', () => {
  it.skipIf(!python)('are what an implementation in another language makes of the specification (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it.each(vectors.requests)('accepted: $what', async ({ request }) => {
    expect(await verifyConfirmationRequest(request)).toEqual(JSON.parse(request))
  })

  it.each(vectors.refused)('refused: $why', async ({ request, code }) => {
    expect(await refusal(() => verifyConfirmationRequest(request))).toBe(code)
  })

  it.each(Object.keys(JSON.parse(text) as object))('refused: without %s', async (name) => {
    const { [name]: _, ...rest } = JSON.parse(text) as { [name: string]: unknown }
    expect(await refusal(() => parseConfirmationRequest(JSON.stringify(rest)))).toBe('confirmation_request_malformed')
  })
})

describe('a request for a confirmation', () => {
  it('is signed by the validator that it names, and none is signed that no reader would take', async () => {
    const key = await generateEd25519()
    const { signature: _, ...parsed } = parseConfirmationRequest(text)
    const request = { ...parsed, validator: toHex(key.publicKey) }
    const { signature, ...read } = await verifyConfirmationRequest(await signConfirmationRequest(request, key))
    expect(read).toEqual(request)
    expect(signature).toMatch(/^[0-9a-f]{128}$/)
    await expect(signConfirmationRequest({ ...request, validator: '00'.repeat(32) }, key)).rejects.toThrow(TypeError)
    const long = { ...request.exchange, response: 'x'.repeat(maxConfirmationRequestLength) }
    expect(await refusal(() => signConfirmationRequest({ ...request, exchange: long }, key))).toBe('confirmation_request_malformed')
  })

  it('has no byte that can be changed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 255 }), async (where, by) => {
        const bytes = utf8(text)
        const at = where % bytes.length
        bytes[at] = (bytes[at] as number) ^ by
        const code = await refusal(() => verifyConfirmationRequest(fromUtf8(bytes)))
        expect(['malformed_encoding', 'confirmation_request_malformed', 'confirmation_request_signature_invalid']).toContain(code)
      }),
      { numRuns: 500, seed: 18 },
    )
  })
})
