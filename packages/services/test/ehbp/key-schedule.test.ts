import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { fromHex, toHex, utf8 } from 'veritee/bytes'
import { FrameOpener, FrameSealer, responseKeys, setupRecipient, setupSender } from 'veritee/ehbp'
import { describe, expect, it } from 'vitest'
import { importX25519 } from '../../../veritee/src/crypto/node.ts'
import { FrameDecryptor, FrameWriter, sealNow } from '../../src/enclave/runtime/ehbp/frames.ts'
import { hmacSha256 } from '../../src/enclave/runtime/ehbp/hmac.ts'
import { AnswerKeys } from '../../src/enclave/runtime/ehbp/key-schedule.ts'
import { createRecipient, recipientOf } from '../../src/enclave/runtime/ehbp/recipient.ts'

/** The vectors against which the library's implementation is held too. */
const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/ehbp.json', import.meta.url), 'utf8')) as {
  readonly [name in VectorName]: string
} & {
  readonly response_plain: readonly string[]
  readonly refused_frames: readonly { readonly why: string; readonly wire: string; readonly code: string }[]
}
type VectorName =
  | 'recipient_private_key'
  | 'recipient_public_key'
  | 'enc'
  | 'request_key'
  | 'request_base_nonce'
  | 'binding_line'
  | 'body'
  | 'request_wire'
  | 'request_wire_in_three_frames'
  | 'response_nonce'
  | 'response_key'
  | 'response_base_nonce'
  | 'receipt_credential'
  | 'receipt_key'
  | 'sealed_receipt_key'
  | 'response_wire'

const limits = { maxBytes: 1 << 20, maxFrames: 1000 }

function keyOf(bytes: Uint8Array): ReturnType<typeof createPrivateKey> {
  return createPrivateKey({ key: Buffer.concat([fromHex('302e020100300506032b656e04220420'), bytes]), format: 'der', type: 'pkcs8' })
}

function opened(frames: FrameDecryptor, wire: Uint8Array, cuts: readonly number[] = []): string {
  const plain: Buffer[] = []
  let from = 0
  for (const to of [...cuts, wire.length]) {
    frames.push(wire.subarray(from, to), (bytes) => plain.push(bytes))
    from = to
  }
  frames.end()
  return Buffer.concat(plain).toString('utf8')
}

function codeOf(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return (error as { code?: unknown }).code
  }
  return 'accepted'
}

describe('the vectors of spec/ehbp-binding.md, at a service', () => {
  const recipient = recipientOf(keyOf(fromHex(vectors.recipient_private_key)))
  const context = recipient.setup(fromHex(vectors.enc))
  const keys = new AnswerKeys(context, fromHex(vectors.response_nonce))

  it('it derives the keys that are written there', () => {
    expect(recipient.publicKey).toBe(vectors.recipient_public_key)
    expect(context.request.key.export().toString('hex')).toBe(vectors.request_key)
    expect(toHex(context.request.baseNonce)).toBe(vectors.request_base_nonce)
    expect(keys.response.key.export().toString('hex')).toBe(vectors.response_key)
    expect(toHex(keys.response.baseNonce)).toBe(vectors.response_base_nonce)
    expect(keys.receiptCredential).toBe(vectors.receipt_credential)
    expect(sealNow(keys.receiptKeySeal, fromHex(vectors.receipt_key)).toString('hex')).toBe(vectors.sealed_receipt_key)
  })

  it.each([
    ['one frame', vectors.request_wire],
    ['three frames', vectors.request_wire_in_three_frames],
  ])('opens the request in %s, however it comes, and seals the answer to the bytes that are written there', (_, wire) => {
    const bytes = fromHex(wire)
    expect(opened(new FrameDecryptor(context.request, limits), bytes)).toBe(vectors.binding_line + vectors.body)
    const every = Array.from(bytes, (_byte, at) => at)
    expect(opened(new FrameDecryptor(context.request, limits), bytes, every)).toBe(vectors.binding_line + vectors.body)
    const writer = new FrameWriter(keys.response)
    expect(Buffer.concat(vectors.response_plain.map((plain) => writer.seal(utf8(plain)))).toString('hex')).toBe(vectors.response_wire)
  })

  it.each(vectors.refused_frames)('refused: $why', ({ wire, code }) => {
    // The bounds under which the library refuses them.
    expect(codeOf(() => opened(new FrameDecryptor(context.request, { maxBytes: 1 << 20, maxFrames: 100 }), fromHex(wire)))).toBe(code)
  })
})

it("the published vector of EHBP's own project: derive-keys-vector", () => {
  const range = (from: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, at) => from + at)
  const { response } = new AnswerKeys({ responseSecret: range(0x00), enc: range(0x20) }, range(0x40))
  expect([response.key.export().toString('hex'), toHex(response.baseNonce)]).toEqual([
    '40ec528847cd4e928449f2ed1a70a7d1e8ee317d5e900424fc1dd5b0475b97f7',
    'f8b0ce9466f27aa6243c65f9',
  ])
})

describe('beside other implementations', () => {
  it('300 frames of one body, and of one answer, have the numbers that the library gives them', async () => {
    const recipient = createRecipient()
    const sender = await setupSender(fromHex(recipient.publicKey))
    const context = recipient.setup(sender.enc)
    const nonce = randomBytes(32)
    const [sealer, frames] = [new FrameSealer(sender.request), new FrameDecryptor(context.request, limits)]
    const [writer, opener] = [
      new FrameWriter(new AnswerKeys(context, nonce).response),
      new FrameOpener((await responseKeys(sender, nonce)).response, limits),
    ]
    for (let index = 0; index < 300; index++) {
      expect(opened(frames, await sealer.seal(utf8(`frame ${index}`)))).toBe(`frame ${index}`)
      expect(Buffer.concat(await opener.push(writer.seal(utf8(`event ${index}`)))).toString()).toBe(`event ${index}`)
    }
  })

  it('the library derives the same of any keys, opens what is sealed here, and seals what is opened here', async () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
    const pieces = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(bytes, bytes, bytes, pieces, async (own, ephemeral, nonce, texts) => {
        const sender = await setupSender(importX25519(own).publicKey, importX25519(ephemeral))
        const theirs = await setupRecipient(importX25519(own), sender.enc)
        const context = recipientOf(keyOf(own)).setup(sender.enc)
        const [ourKeys, theirKeys] = [new AnswerKeys(context, nonce), await responseKeys(theirs, nonce)]
        expect(ourKeys.receiptCredential).toBe(theirKeys.receiptCredential)
        expect(ourKeys.receiptKeySeal.key.export()).toEqual(Buffer.from(theirKeys.receiptKeySeal.key))
        expect(ourKeys.receiptKeySeal.baseNonce).toEqual(theirKeys.receiptKeySeal.baseNonce)
        const [sealer, writer] = [new FrameSealer(sender.request), new FrameWriter(ourKeys.response)]
        const frames = new FrameDecryptor(context.request, limits)
        const opener = new FrameOpener(theirKeys.response, limits)
        for (const text of texts) {
          expect(opened(frames, await sealer.seal(text))).toBe(Buffer.from(text).toString('utf8'))
          expect(Buffer.concat(await opener.push(writer.seal(text)))).toEqual(Buffer.from(text))
        }
      }),
      { numRuns: 40 },
    )
  })

  it('HMAC is that of Node, for keys up to a block and messages in parts', () => {
    const part = fc.uint8Array({ maxLength: 85 })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), part, part, part, (key, first, ...more) => {
        const message = [first, ...more]
        expect(toHex(hmacSha256(key, first, ...more))).toBe(createHmac('sha256', key).update(Buffer.concat(message)).digest('hex'))
      }),
    )
    // RFC 4231, test cases 1 to 3.
    for (const [key, message, mac] of [
      ['0b'.repeat(20), utf8('Hi There'), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
      [toHex(utf8('Jefe')), utf8('what do ya want for nothing?'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
      ['aa'.repeat(20), new Uint8Array(50).fill(0xdd), '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'],
    ] as const)
      expect(toHex(hmacSha256(fromHex(key), message))).toBe(mac)
    expect(() => hmacSha256(new Uint8Array(65), new Uint8Array(1))).toThrow(RangeError)
    expect(() => hmacSha256(new Uint8Array(64), new Uint8Array(257))).toThrow(RangeError)
  })
})

describe('refused', () => {
  it.each([
    ['zero', '00'.repeat(32)],
    ['one', `01${'00'.repeat(31)}`],
    ['of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
    ['p', `ed${'ff'.repeat(30)}7f`],
    ['31 bytes', '09'.repeat(31)],
    ['33 bytes', '09'.repeat(33)],
  ])('an encapsulated key that agrees on no secret: %s', (_name, enc) => {
    expect(codeOf(() => createRecipient().setup(fromHex(enc)))).toBe('ehbp_malformed')
  })

  it('a frame of which one bit was changed, and one in the place of another; nothing of it is handed over', async () => {
    const recipient = createRecipient()
    const sender = await setupSender(fromHex(recipient.publicKey))
    const sealer = new FrameSealer(sender.request)
    const first = await sealer.seal(utf8('secret'))
    const second = await sealer.seal(utf8('second'))
    const { request } = recipient.setup(sender.enc)
    for (let bit = 32; bit < 8 * first.length; bit++) {
      const changed = first.slice()
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      const plain: Buffer[] = []
      expect(codeOf(() => new FrameDecryptor(request, limits).push(changed, (text) => plain.push(text)))).toBe('ehbp_not_authentic')
      expect(plain).toEqual([])
    }
    expect(codeOf(() => opened(new FrameDecryptor(request, limits), second))).toBe('ehbp_not_authentic')
  })

  it('frames beyond the bounds', async () => {
    const recipient = createRecipient()
    const sender = await setupSender(fromHex(recipient.publicKey))
    const wire = await new FrameSealer(sender.request).seal(new Uint8Array(101))
    const { request } = recipient.setup(sender.enc)
    const within = (bounds: typeof limits, bytes: Uint8Array): unknown => codeOf(() => opened(new FrameDecryptor(request, bounds), bytes))
    expect(within({ maxBytes: 101, maxFrames: 1 }, wire)).toBe('accepted')
    expect(within({ maxBytes: 100, maxFrames: 1 }, wire)).toBe('ehbp_malformed')
    expect(within({ maxBytes: 101, maxFrames: 1 }, Buffer.concat([Buffer.alloc(4), wire]))).toBe('ehbp_malformed')
    expect(within(limits, wire.subarray(0, -1))).toBe('ehbp_malformed')
  })
})

it('a long piece is sealed in frames of 65,536 bytes, as the library seals it', async () => {
  const recipient = createRecipient()
  const context = recipient.setup(
    new Uint8Array(createPublicKey(generateKeyPairSync('x25519').privateKey).export({ format: 'der', type: 'spki' }).subarray(-32)),
  )
  const nonce = randomBytes(32)
  const { response } = new AnswerKeys(context, nonce)
  const plain = randomBytes(150_000)
  const theirs = new FrameSealer({ key: response.key.export(), baseNonce: response.baseNonce })
  expect(new FrameWriter(response).seal(plain).equals(await theirs.seal(plain))).toBe(true)
  expect(new FrameWriter(response).seal(new Uint8Array(0)).length).toBe(0)
})
