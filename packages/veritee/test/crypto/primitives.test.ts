import { createHash, createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex, utf8 } from '../../src/bytes/index.ts'
import * as node from '../../src/crypto/node.ts'
import type { Crypto } from '../../src/crypto/types.ts'
import * as web from '../../src/crypto/web.ts'

const implementations: readonly (readonly [string, Crypto])[] = [
  ['node', node],
  ['web', web],
]
const message = utf8('message')
const p256Order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** One signature under one key; false where the key is none. */
async function verifyP256(crypto: Crypto, publicKey: Uint8Array, signature: Uint8Array, signed: Uint8Array): Promise<boolean> {
  return (await (await crypto.importP256(publicKey))?.verify(signature, signed)) ?? false
}

function bigint(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes)}`)
}

/** The other of the two valid signatures: r and order minus s. */
function otherS(signature: Uint8Array): Uint8Array {
  const s = (p256Order - bigint(signature.subarray(32))).toString(16).padStart(64, '0')
  return new Uint8Array([...signature.subarray(0, 32), ...fromHex(s)])
}

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  return bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
}

/** Keys and signatures made by Node's own API, without the code under test. */
function nodeP256(): { publicKey: Uint8Array; signature: Uint8Array } {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = pair.publicKey.export({ type: 'spki', format: 'der' })
  const signature = new Uint8Array(sign('sha256', message, { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }))
  return { publicKey: new Uint8Array(spki.subarray(-64)), signature }
}

// RFC 8032 section 7.1, test 2.
const rfc8032 = {
  publicKey: fromHex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'),
  message: fromHex('72'),
  signature: fromHex(
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ),
}

describe.each(implementations)('%s: the primitives', (_, crypto) => {
  it('SHA-256 agrees with Node', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        expect(toHex(await crypto.sha256(bytes))).toBe(createHash('sha256').update(bytes).digest('hex'))
        expect(await crypto.sha256Hex(bytes)).toBe(createHash('sha256').update(bytes).digest('hex'))
      }),
      { numRuns: 40 },
    )
  })
  it('SHA-256 of a byte and what is behind it is that of both together, of any length', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(255), fc.uint8Array({ maxLength: 9000, size: 'max' }), async (first, bytes) => {
        const expected = createHash('sha256').update(Uint8Array.of(first)).update(bytes).digest('hex')
        expect(toHex(await crypto.sha256Behind(first, bytes))).toBe(expected)
      }),
      { numRuns: 40 },
    )
  })
  it('SHA-256 of two arrays is that of both together, and so are the bytes of two texts', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 40 }).map((any) => any.toWellFormed())
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 }), text, text, async (first, second, head, tail) => {
        expect(await crypto.sha256HexOfBoth(first, second)).toBe(createHash('sha256').update(first).update(second).digest('hex'))
        expect(toHex(crypto.utf8OfBoth(head, tail))).toBe(toHex(utf8(head + tail)))
      }),
    )
  })
  it('SHA-256 of a text is that of its bytes in UTF-8, lone surrogates as both encoders write them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
        expect(await crypto.sha256Hex(text)).toBe(createHash('sha256').update(utf8(text)).digest('hex'))
      }),
    )
    for (const text of ['', 'ä', '\u{1f600}', 'a\ud800b']) expect(await crypto.sha256Hex(text)).toBe(await crypto.sha256Hex(utf8(text)))
  })

  it('hashes a view and not the buffer behind it', async () => {
    const whole = utf8('xxabcxx')
    expect(await crypto.sha256(whole.subarray(2, 5))).toEqual(await crypto.sha256(utf8('abc')))
  })
  it('HMAC-SHA-256 agrees with Node for keys of every length, the empty one too', async () => {
    for (const length of [0, 1, 31, 32, 63, 64, 65, 200]) {
      const key = new Uint8Array(length).fill(7)
      expect(toHex(await crypto.hmacSha256(key, message))).toBe(createHmac('sha256', key).update(message).digest('hex'))
      expect(toHex(await crypto.hmacSha256(key, new Uint8Array(0)))).toBe(createHmac('sha256', key).digest('hex'))
    }
  })
  it('gives random bytes of any length, not the same twice', () => {
    for (const length of [0, 1, 65_536, 65_537, 200_000]) expect(crypto.randomBytes(length).length).toBe(length)
    expect(crypto.randomBytes(32)).not.toEqual(crypto.randomBytes(32))
    const long = crypto.randomBytes(200_000)
    expect(toHex(long.subarray(199_968))).not.toBe('00'.repeat(32))
    expect(toHex(long.subarray(65_536, 65_568))).not.toBe('00'.repeat(32))
  })

  it('verifies P-256 signatures of another program, high s and low s alike', async () => {
    for (let i = 0; i < 4; i++) {
      const { publicKey, signature } = nodeP256()
      expect(await verifyP256(crypto, publicKey, signature, message)).toBe(true)
      expect(await verifyP256(crypto, publicKey, otherS(signature), message)).toBe(true)
      expect(await verifyP256(crypto, publicKey, signature, utf8('Message'))).toBe(false)
    }
  })
  it('P-256: every flipped bit of the signature is refused', async () => {
    const { publicKey, signature } = nodeP256()
    for (let bit = 0; bit < 512; bit += 5) expect(await verifyP256(crypto, publicKey, flip(signature, bit), message)).toBe(false)
  })
  it('P-256: a point off the curve, or no point at all, is false and not an exception', async () => {
    const { publicKey, signature } = nodeP256()
    for (const key of [flip(publicKey, 511), flip(publicKey, 0), new Uint8Array(64), new Uint8Array(64).fill(0xff)])
      expect(await verifyP256(crypto, key, signature, message)).toBe(false)
  })
  it('P-256: r or s of zero, the order or more is false and not an exception', async () => {
    const { publicKey, signature } = nodeP256()
    const numbers = [0n, p256Order, p256Order + 1n, 2n ** 256n - 1n].map((n) => fromHex(n.toString(16).padStart(64, '0')))
    for (const n of numbers) {
      expect(await verifyP256(crypto, publicKey, new Uint8Array([...n, ...signature.subarray(32)]), message)).toBe(false)
      expect(await verifyP256(crypto, publicKey, new Uint8Array([...signature.subarray(0, 32), ...n]), message)).toBe(false)
    }
    expect(await verifyP256(crypto, publicKey, new Uint8Array(64), message)).toBe(false)
  })
  it.each([0, 1, 32, 63, 65, 128])('P-256: a key or signature of %d bytes is false and not an exception', async (length) => {
    const { publicKey, signature } = nodeP256()
    const longer = new Uint8Array(length)
    longer.set(publicKey.subarray(0, length))
    expect(await verifyP256(crypto, longer, signature, message)).toBe(false)
    const padded = new Uint8Array(length)
    padded.set(signature.subarray(0, length))
    expect(await verifyP256(crypto, publicKey, padded, message)).toBe(false)
  })
  it('P-256: a DER signature is not taken for a raw one', async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-64))
    expect(await verifyP256(crypto, publicKey, new Uint8Array(sign('sha256', message, pair.privateKey)), message)).toBe(false)
  })

  it('verifies the Ed25519 vector of RFC 8032, and none of its flipped bits', async () => {
    const { publicKey, signature } = rfc8032
    expect(await crypto.verifyEd25519(publicKey, signature, rfc8032.message)).toBe(true)
    for (let bit = 0; bit < 512; bit += 7) expect(await crypto.verifyEd25519(publicKey, flip(signature, bit), rfc8032.message)).toBe(false)
    for (let bit = 0; bit < 256; bit += 7) expect(await crypto.verifyEd25519(flip(publicKey, bit), signature, rfc8032.message)).toBe(false)
    expect(await crypto.verifyEd25519(publicKey, signature, new Uint8Array(0))).toBe(false)
  })
  it('Ed25519: a key that was taken in verifies any number of messages', async () => {
    const { publicKey, sign } = await crypto.generateEd25519()
    const key = await crypto.importEd25519(publicKey)
    for (const signed of [message, new Uint8Array(0)]) {
      const signature = await sign(signed)
      expect(await key?.verify(signature, signed)).toBe(true)
      expect(await key?.verify(signature, utf8('another'))).toBe(false)
      expect(await key?.verify(signature.subarray(1), signed)).toBe(false)
    }
  })
  it('Ed25519: s plus the group order, which would be a second form of one signature, is refused', async () => {
    const order = 2n ** 252n + 27742317777372353535851937790883648493n
    const s = bigint(rfc8032.signature.slice(32).reverse()) + order
    const malleated = new Uint8Array([...rfc8032.signature.subarray(0, 32), ...fromHex(s.toString(16).padStart(64, '0')).reverse()])
    expect(await crypto.verifyEd25519(rfc8032.publicKey, malleated, rfc8032.message)).toBe(false)
  })
  it.each([0, 31, 33, 63, 65])('Ed25519: a key or signature of %d bytes is false and not an exception', async (length) => {
    expect(await crypto.verifyEd25519(new Uint8Array(length), rfc8032.signature, message)).toBe(false)
    expect(await crypto.verifyEd25519(rfc8032.publicKey, new Uint8Array(length), message)).toBe(false)
  })
  it('Ed25519: bytes that are no point are false and not an exception', async () => {
    for (const fill of [0x02, 0x7f, 0xff]) expect(await crypto.verifyEd25519(new Uint8Array(32).fill(fill), rfc8032.signature, message)).toBe(false)
  })
})

describe.each(implementations)('%s: comparing bytes', (_, { sameBytes }) => {
  const lengths = [0, 1, 4, 63, 64, 65, 200]

  it('equal bytes are the same wherever they stand', () => {
    for (const length of lengths)
      for (let offset = 0; offset < 9; offset++) {
        const content = Uint8Array.from({ length }, (_unused, index) => index + 1)
        const buffer = new Uint8Array(length + 20).fill(0xff)
        buffer.set(content, offset)
        expect(sameBytes(content, buffer.subarray(offset, offset + length))).toBe(true)
      }
  })

  it('one different byte is seen at every place, and so is another length', () => {
    for (const length of lengths) {
      const content = Uint8Array.from({ length }, (_unused, index) => index + 1)
      for (let bit = 0; bit < 8 * length; bit++) expect(sameBytes(content, flip(content, bit))).toBe(false)
      const longer = new Uint8Array([...content, 0])
      expect(sameBytes(content, longer)).toBe(false)
      expect(sameBytes(longer, content)).toBe(false)
    }
  })
})

describe.each(implementations)('%s: keys it makes', (_, maker) => {
  it.each(implementations)('are verified by %s', async (_name, checker) => {
    const p256 = await maker.generateP256()
    const ed25519 = await maker.generateEd25519()
    expect([p256.publicKey.length, ed25519.publicKey.length]).toEqual([64, 32])
    const [a, b] = [await p256.sign(message), await ed25519.sign(message)]
    expect([a.length, b.length]).toEqual([64, 64])
    expect(await verifyP256(checker, p256.publicKey, a, message)).toBe(true)
    expect(await checker.verifyEd25519(ed25519.publicKey, b, message)).toBe(true)
    expect(await checker.verifyEd25519(ed25519.publicKey, a, message)).toBe(false)
    expect(await verifyP256(checker, p256.publicKey, b, message)).toBe(false)
  })
})

it('both sides agree on every pair of 64 and 32 random bytes: nothing verifies, nothing throws', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 70 }), fc.uint8Array({ maxLength: 70 }), async (key, signature) => {
      for (const [, crypto] of implementations) {
        expect(await verifyP256(crypto, key, signature, message)).toBe(false)
        expect(await crypto.verifyEd25519(key, signature, message)).toBe(false)
      }
    }),
    { numRuns: 60 },
  )
})

it("the vectors' own private key signs to the vector under both sides", async () => {
  // RFC 8410 section 7: the private key document around a seed of 32 bytes.
  const seed = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb')
  const key = createPrivateKey({ key: Buffer.concat([fromHex('302e020100300506032b657004220420'), seed]), format: 'der', type: 'pkcs8' })
  expect(new Uint8Array(sign(null, rfc8032.message, key))).toEqual(rfc8032.signature)
  expect(new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32))).toEqual(rfc8032.publicKey)
})
