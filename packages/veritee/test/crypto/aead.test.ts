import { createCipheriv, hkdfSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex } from '../../src/bytes/index.ts'
import * as node from '../../src/crypto/node.ts'
import type { Crypto } from '../../src/crypto/types.ts'
import * as web from '../../src/crypto/web.ts'

const implementations: readonly (readonly [string, Crypto])[] = [
  ['node', node],
  ['web', web],
]
const exactly = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length })

describe.each(implementations)('%s: AES-256-GCM and HKDF', (_, crypto) => {
  it('HKDF gives the bytes of RFC 5869 appendix A.1', async () => {
    const info = fromHex('f0f1f2f3f4f5f6f7f8f9')
    const found = await crypto.hkdfSha256(new Uint8Array(22).fill(0x0b), fromHex('000102030405060708090a0b0c'), info, 42)
    expect(toHex(found)).toBe('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865')
    expect(toHex(found)).toBe(
      Buffer.from(hkdfSync('sha256', Buffer.alloc(22, 0x0b), fromHex('000102030405060708090a0b0c'), info, 42)).toString('hex'),
    )
  })

  it('AES-256-GCM gives the bytes of test case 14 of its specification', async () => {
    const sealed = await crypto.sealAes256Gcm(new Uint8Array(32), new Uint8Array(12), new Uint8Array(16))
    expect(toHex(sealed)).toBe('cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919')
  })

  it('what is sealed opens, equals what Node seals, and no flipped bit opens', async () => {
    await fc.assert(
      fc.asyncProperty(exactly(32), exactly(12), fc.uint8Array({ maxLength: 100 }), fc.nat(), async (key, nonce, plain, bit) => {
        const sealed = await crypto.sealAes256Gcm(key, nonce, plain)
        const cipher = createCipheriv('aes-256-gcm', key, nonce)
        expect(toHex(sealed)).toBe(Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('hex'))
        expect(new Uint8Array((await crypto.openAes256Gcm(key, nonce, sealed)) ?? [1])).toEqual(plain)
        const changed = sealed.slice()
        const at = bit % (8 * changed.length)
        changed[at >> 3] = (changed[at >> 3] as number) ^ (1 << (at & 7))
        expect(await crypto.openAes256Gcm(key, nonce, changed)).toBeNull()
        expect(await crypto.openAes256Gcm(key, nonce, sealed.subarray(0, sealed.length - 1))).toBeNull()
      }),
      { numRuns: 40 },
    )
  })

  it.each([0, 1, 15])('%i bytes are too short to hold a tag', async (length) => {
    expect(await crypto.openAes256Gcm(new Uint8Array(32), new Uint8Array(12), new Uint8Array(length))).toBeNull()
  })
})
