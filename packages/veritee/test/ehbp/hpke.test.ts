import fc from 'fast-check'
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from 'hpke'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex, utf8 } from '../../src/bytes/index.ts'
import * as node from '../../src/crypto/node.ts'
import type { Crypto } from '../../src/crypto/types.ts'
import * as web from '../../src/crypto/web.ts'
import { openFrame, sealFrame } from '../../src/seal/ehbp/frame-key.ts'
import { exportSecret, setupRecipient, setupSender } from '../../src/seal/ehbp/hpke.ts'
import { refusal } from '../bytes/refusal.ts'

const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM)
const info = utf8('ehbp request')
const implementations: readonly (readonly [string, Crypto])[] = [
  ['node', node],
  ['web', web],
]

describe('HPKE', () => {
  it('what this sender seals, another implementation of RFC 9180 opens, and both export the same', async () => {
    const pair = await suite.GenerateKeyPair(true)
    const context = await setupSender(await suite.SerializePublicKey(pair.publicKey))
    const theirs = await suite.SetupRecipient(pair.privateKey, context.enc, { info })
    for (const [index, text] of ['one', '', 'three'].entries())
      expect(toHex(await theirs.Open(await sealFrame(context.request, index, utf8(text))))).toBe(toHex(utf8(text)))
    expect(toHex(await exportSecret(context, 'ehbp response', 32))).toBe(toHex(await theirs.Export(utf8('ehbp response'), 32)))
  })

  it('what another sender seals, this recipient opens, up to 300 frames', async () => {
    const own = node.generateX25519()
    const theirs = await suite.SetupSender(await suite.DeserializePublicKey(own.publicKey), { info })
    const context = await setupRecipient(own, theirs.encapsulatedSecret)
    for (let index = 0; index < 300; index++) {
      const sealed = await theirs.ctx.Seal(utf8(`frame ${index}`))
      expect(await openFrame(context.request, index + 1, sealed)).toBeNull()
      expect(toHex((await openFrame(context.request, index, sealed)) ?? new Uint8Array(0))).toBe(toHex(utf8(`frame ${index}`)))
    }
  })
})

describe.each(implementations)('%s: X25519', (_, crypto) => {
  it('gives the bytes of RFC 7748 section 6.1', async () => {
    const alice = await crypto.importX25519(fromHex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'))
    const bob = await crypto.importX25519(fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
    expect(toHex(alice.publicKey)).toBe('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a')
    expect(toHex(bob.publicKey)).toBe('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f')
    const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742'
    expect(toHex((await alice.agree(bob.publicKey)) ?? new Uint8Array(0))).toBe(shared)
    expect(toHex((await bob.agree(alice.publicKey)) ?? new Uint8Array(0))).toBe(shared)
  })

  it('two keys agree, in both implementations', async () => {
    const own = await crypto.generateX25519()
    for (const [, other] of implementations) {
      const peer = await other.generateX25519()
      const shared = await own.agree(peer.publicKey)
      expect(shared?.length).toBe(32)
      expect(await peer.agree(own.publicKey)).toEqual(shared)
    }
  })

  it('a key of given private bytes has the same public half in both', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 32, maxLength: 32 }), async (bytes) => {
        expect((await crypto.importX25519(bytes)).publicKey).toEqual(node.importX25519(bytes).publicKey)
      }),
      { numRuns: 20 },
    )
  })

  it.each([
    ['zero', '00'.repeat(32)],
    ['one', `01${'00'.repeat(31)}`],
    ['of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
    ['p', `ed${'ff'.repeat(30)}7f`],
    ['31 bytes', '09'.repeat(31)],
    ['33 bytes', '09'.repeat(33)],
  ])('agrees on nothing with a peer that is %s', async (_name, peer) => {
    expect(await (await crypto.generateX25519()).agree(fromHex(peer))).toBeNull()
  })
})

it('an encapsulated key that agrees on nothing is refused', async () => {
  expect(await refusal(() => setupRecipient(node.generateX25519(), new Uint8Array(32)))).toBe('ehbp_malformed')
  expect(await refusal(() => setupSender(new Uint8Array(31)))).toBe('ehbp_malformed')
})
