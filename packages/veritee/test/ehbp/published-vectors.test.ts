import { describe, expect, it } from 'vitest'
import { concatAll, fromHex, fromUtf8, toHex } from '../../src/bytes/index.ts'
import { FrameOpener } from '../../src/seal/ehbp/index.ts'
import { deriveResponseKeys } from '../../src/seal/ehbp/response-keys.ts'
import { refusal } from '../bytes/refusal.ts'

/**
 * The derivation and decryption vectors that EHBP's own project publishes (tinfoilsh/encrypted-http-body-protocol, test-vectors/derive.json,
 * response-decryption.json and conformance/crypto.json), under the names they have there.
 */
const secret = fromHex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f')
const enc = fromHex('202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f')
const nonce = fromHex('404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f')
const single = '0000002647e74d9a561b60ff42ac7ffbb4caf6b6d5ad0bb7621e41840d2ab7de7208ff7a59d0a2a482cc'
const three =
  '0000001340ec44d12c444bc9dd4c9065bd70601249f60900000013d45408abbff98ad579cf340d35c575d02107a60000001525273c814b6670b2645cd60de697580e3a02597bb1'
const around = '000000164de747994b5e42a3c41f9291aeb038109dc559e7941f0000000000000015c14513df240e6ffecea81fb7716b56f480908b890d'
const partial = '0000001549eb53854d723fe4c4924b02b86aee7221e019331200000016d34604d538661d5148b5095a3917e62b6c62a8391b32'

/** What is given out before the end or the first failure. */
async function open(wire: string, cuts: readonly number[] = []): Promise<{ readonly text: string; readonly code: string }> {
  const opener = new FrameOpener((await deriveResponseKeys(secret, enc, nonce)).response, { maxBytes: 64 << 20, maxFrames: 1 << 16 })
  const bytes = fromHex(wire)
  const plain: Uint8Array[] = []
  const code = await refusal(async () => {
    let from = 0
    for (const to of [...cuts, bytes.length]) {
      plain.push(...(await opener.push(bytes.subarray(from, to))))
      from = to
    }
    opener.end()
  })
  return { text: fromUtf8(concatAll(plain)), code }
}

describe('the published vectors of EHBP', () => {
  it('derive-keys-vector', async () => {
    const { response } = await deriveResponseKeys(secret, enc, nonce)
    expect([toHex(response.key), toHex(response.baseNonce)]).toEqual([
      '40ec528847cd4e928449f2ed1a70a7d1e8ee317d5e900424fc1dd5b0475b97f7',
      'f8b0ce9466f27aa6243c65f9',
    ])
  })
  it.each<[string, string, readonly number[], string]>([
    ['decrypt-response-vector', single, [], 'hello from test vector'],
    ['decrypt-response-streaming-fragmented', single, [3, 6, 20], 'hello from test vector'],
    ['decrypt-response-multiframe', three, [], 'onetwothree'],
    ['decrypt-response-multiframe-streaming', three, [10, 30, 50], 'onetwothree'],
    ['decrypt-response-zero-length-frame', around, [], 'beforeafter'],
  ])('%s', async (_, wire, cuts, text) => {
    expect(await open(wire, cuts)).toEqual({ text, code: 'accepted' })
  })
  it.each<[string, string, readonly number[], string, string]>([
    ['decrypt-response-tampered-tag', `${single.slice(0, -2)}cd`, [], '', 'ehbp_not_authentic'],
    ['decrypt-response-truncated-frame', single.slice(0, -2), [], '', 'ehbp_malformed'],
    ['decrypt-response-oversized-chunk', 'ffffffff00000000000000000000000000000000', [], '', 'ehbp_malformed'],
    ['decrypt-response-partial-then-fail', partial, [25], 'frame', 'ehbp_not_authentic'],
  ])('%s', async (_, wire, cuts, text, code) => {
    const found = await open(wire, cuts)
    expect(found.code).toBe(code)
    // What came in one part with a frame that does not open is not given out.
    expect(text === '' ? found.text : [found.text.length]).toEqual(text === '' ? '' : [text.length])
  })
})
