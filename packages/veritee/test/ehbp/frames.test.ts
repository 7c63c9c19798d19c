import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concatAll, fromHex, toHex, utf8 } from '../../src/bytes/index.ts'
import { generateX25519, randomBytes } from '../../src/crypto/node.ts'
import { FrameOpener, FrameSealer, openResponse, responseKeys, sealRequest, setupRecipient } from '../../src/seal/ehbp/index.ts'
import { refusal } from '../bytes/refusal.ts'

const key = { key: randomBytes(32), baseNonce: randomBytes(12) }
const limits = { maxBytes: 1 << 20, maxFrames: 64 }

async function open(wire: Uint8Array, sizes: readonly number[] = [wire.length], bounds = limits): Promise<Uint8Array> {
  const opener = new FrameOpener(key, bounds)
  const plain: Uint8Array[] = []
  let at = 0
  for (const size of [...sizes, wire.length]) {
    plain.push(...(await opener.push(wire.subarray(at, Math.min(wire.length, at + size)))))
    at = Math.min(wire.length, at + size)
  }
  opener.end()
  return concatAll(plain)
}

const length = (bytes: number): Uint8Array => fromHex(bytes.toString(16).padStart(8, '0'))

describe('frames', () => {
  it('open to what was sealed, in whatever parts they come', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 40 }),
        async (pieces, sizes) => {
          const sealer = new FrameSealer(key)
          const wire: Uint8Array[] = []
          for (const piece of pieces) wire.push(await sealer.seal(piece), length(0))
          expect(toHex(await open(concatAll(wire), sizes))).toBe(toHex(concatAll(pieces)))
        },
      ),
      { numRuns: 60 },
    )
  })

  it('a long piece is cut into frames of 65,536 bytes, and an empty one makes none', async () => {
    const plain = randomBytes(150_000)
    const wire = await new FrameSealer(key).seal(plain)
    expect(wire.length).toBe(plain.length + 3 * 20)
    expect(toHex(await open(wire))).toBe(toHex(plain))
    expect((await new FrameSealer(key).seal(new Uint8Array(0))).length).toBe(0)
  })

  it('no flipped bit opens', async () => {
    const sealer = new FrameSealer(key)
    const wire = concatAll([await sealer.seal(utf8('first')), await sealer.seal(utf8('second'))])
    for (let bit = 0; bit < 8 * wire.length; bit++) {
      const changed = wire.slice()
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(['ehbp_not_authentic', 'ehbp_malformed'], `bit ${bit}`).toContain(await refusal(() => open(changed)))
    }
  })

  it('nothing is given of a frame that has not come whole, nor anything after a refusal', async () => {
    const wire = await new FrameSealer(key).seal(utf8('secret'))
    const opener = new FrameOpener(key, limits)
    expect(await opener.push(wire.subarray(0, -1))).toEqual([])
    await expect(opener.push(Uint8Array.of((wire.at(-1) as number) ^ 1))).rejects.toMatchObject({ code: 'ehbp_not_authentic' })
    await expect(opener.push(wire)).rejects.toThrow(TypeError)
    expect(opener.opened).toBe(0)
  })

  it.each([
    ['more frames than allowed, all empty', concatAll(Array.from({ length: 65 }, () => length(0))), 'ehbp_malformed'],
    ['a frame as long as its tag less one', concatAll([length(15), new Uint8Array(15)]), 'ehbp_malformed'],
    ['a frame beyond the bound, of which only the length came', length((1 << 20) + 17), 'ehbp_malformed'],
    ['the largest length', length(0xffffffff), 'ehbp_malformed'],
    ['half a length', Uint8Array.of(0, 0), 'ehbp_malformed'],
    ['a tag over nothing under another key', concatAll([length(16), new Uint8Array(16)]), 'ehbp_not_authentic'],
  ])('refused: %s', async (_why, wire, code) => {
    expect(await refusal(() => open(wire))).toBe(code)
  })

  it('the bound is over all frames together', async () => {
    const sealer = new FrameSealer(key)
    const wire = concatAll([await sealer.seal(new Uint8Array(60)), await sealer.seal(new Uint8Array(41))])
    expect(await refusal(() => open(wire, [wire.length], { ...limits, maxBytes: 100 }))).toBe('ehbp_malformed')
    expect((await open(wire, [wire.length], { ...limits, maxBytes: 101 })).length).toBe(101)
  })
})

describe('the answer to a sealed request', () => {
  const own = generateX25519()
  const target = { method: 'POST', model: 'm', path: '/v1/chat/completions', session_id: null }
  const sealed = (): ReturnType<typeof sealRequest> => sealRequest({ publicKey: own.publicKey, keysetDigest: 'sha256:' }, target, utf8('{}'))
  const problem = { 'content-type': 'application/problem+json; charset=utf-8' }
  const nonce = 'ab'.repeat(32)

  it.each([
    ['a plain success', 200, {}, 'ehbp_malformed'],
    ['a plain success with a nonce of 31 bytes', 200, { 'ehbp-response-nonce': 'ab'.repeat(31) }, 'ehbp_malformed'],
    ['a nonce in capitals', 200, { 'ehbp-response-nonce': nonce.toUpperCase() }, 'ehbp_malformed'],
    ['a stale key', 422, problem, 'ehbp_stale_key'],
    ['a plain 422 of something else', 422, { 'content-type': 'application/json' }, 'service_refused'],
    ['an error in plain', 503, {}, 'service_refused'],
    [
      'a receipt key that was not sealed for this exchange',
      200,
      { 'ehbp-response-nonce': nonce, 'x-veritee-sealed-receipt-key': 'cd'.repeat(48) },
      'ehbp_not_authentic',
    ],
    ['a receipt key of another length', 200, { 'ehbp-response-nonce': nonce, 'x-veritee-sealed-receipt-key': 'cd' }, 'ehbp_not_authentic'],
  ])('refused: %s', async (_why, status, headers, code) => {
    const request = await sealed()
    expect(await refusal(() => openResponse(request, status, headers))).toBe(code)
  })

  it('S4: the frames of an answer to another request, or under another nonce, do not open', async () => {
    const [first, second] = [await sealed(), await sealed()]
    const context = await setupRecipient(own, fromHex(first.enc))
    const wire = await new FrameSealer((await responseKeys(context, fromHex(nonce))).response).seal(utf8('answer'))
    const opened = async (request: typeof first, responseNonce: string): Promise<Uint8Array[]> =>
      (await openResponse(request, 200, { 'ehbp-response-nonce': responseNonce })).frames.push(wire)
    expect(toHex(concatAll(await opened(first, nonce)))).toBe(toHex(utf8('answer')))
    expect(await refusal(() => opened(second, nonce))).toBe('ehbp_not_authentic')
    expect(await refusal(() => opened(first, 'cd'.repeat(32)))).toBe('ehbp_not_authentic')
  })
})
