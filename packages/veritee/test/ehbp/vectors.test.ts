import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fromHex, fromUtf8, toHex, utf8 } from '../../src/bytes/index.ts'
import { importX25519 } from '../../src/crypto/node.ts'
import {
  type Binding,
  FrameOpener,
  FrameSealer,
  openResponse,
  responseKeys,
  sealReceiptKey,
  sealRequest,
  setupRecipient,
  unbindBody,
} from '../../src/seal/ehbp/index.ts'
import { refusal } from '../bytes/refusal.ts'

interface Vectors {
  readonly [name: string]: unknown
  readonly recipient_private_key: string
  readonly recipient_public_key: string
  readonly ephemeral_private_key: string
  readonly enc: string
  readonly request_key: string
  readonly request_base_nonce: string
  readonly exporter_secret: string
  readonly binding: Binding
  readonly binding_line: string
  readonly body: string
  readonly request_wire: string
  readonly request_wire_in_three_frames: string
  readonly response_nonce: string
  readonly response_key: string
  readonly response_base_nonce: string
  readonly receipt_credential: string
  readonly receipt_key: string
  readonly sealed_receipt_key: string
  readonly response_plain: readonly string[]
  readonly response_wire: string
  readonly refused_frames: readonly { readonly why: string; readonly wire: string; readonly code: string }[]
  readonly refused_lines: readonly { readonly why: string; readonly plain: string; readonly code: string }[]
}

const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/ehbp.json', import.meta.url), 'utf8')) as Vectors
const script = fileURLToPath(new URL('make-vectors.py', import.meta.url))
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0
const recipient = importX25519(fromHex(vectors.recipient_private_key))
const limits = { maxBytes: 1 << 20, maxFrames: 100 }

async function opened(wire: string): Promise<Uint8Array> {
  const context = await setupRecipient(recipient, fromHex(vectors.enc))
  const opener = new FrameOpener(context.request, limits)
  const plain = await opener.push(fromHex(wire))
  opener.end()
  return Buffer.concat(plain)
}

const sealed = (): ReturnType<typeof sealRequest> =>
  sealRequest(
    { publicKey: recipient.publicKey, keysetDigest: 'sha256:' },
    vectors.binding,
    utf8(vectors.body),
    vectors.binding.client_nonce,
    importX25519(fromHex(vectors.ephemeral_private_key)),
  )

describe('the vectors of encrypted bodies', () => {
  it.skipIf(!python)('are what an implementation in another language makes of the specification (needs python3 with cryptography)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  it('both sides derive the keys that are written there', async () => {
    const context = await setupRecipient(recipient, fromHex(vectors.enc))
    expect(toHex(recipient.publicKey)).toBe(vectors.recipient_public_key)
    expect(toHex(context.request.key)).toBe(vectors.request_key)
    expect(toHex(context.request.baseNonce)).toBe(vectors.request_base_nonce)
    expect(toHex(context.exporterSecret)).toBe(vectors.exporter_secret)
    expect((await sealed()).context).toEqual(context)
    const keys = await responseKeys(context, fromHex(vectors.response_nonce))
    expect(toHex(keys.response.key)).toBe(vectors.response_key)
    expect(toHex(keys.response.baseNonce)).toBe(vectors.response_base_nonce)
    expect(keys.receiptCredential).toBe(vectors.receipt_credential)
    expect(await sealReceiptKey(keys, fromHex(vectors.receipt_key))).toBe(vectors.sealed_receipt_key)
  })

  it('a request is sealed to the bytes that are written there, and opens to its line and its body', async () => {
    const request = await sealed()
    expect(toHex(request.body)).toBe(vectors.request_wire)
    expect(request.headers).toEqual({
      'ehbp-encapsulated-key': vectors.enc,
      'x-veritee-binding': 'veritee.ehbp.v1',
      'x-veritee-nonce': vectors.binding.client_nonce,
      'x-veritee-session': vectors.binding.session_id,
    })
    for (const wire of [vectors.request_wire, vectors.request_wire_in_three_frames]) {
      const plain = await opened(wire)
      expect(fromUtf8(plain)).toBe(vectors.binding_line + vectors.body)
      const { binding, body } = unbindBody(plain)
      expect(binding).toEqual(vectors.binding)
      expect(fromUtf8(body)).toBe(vectors.body)
    }
  })

  it('an answer is sealed to the bytes that are written there, and opens at the side of the requester', async () => {
    const keys = await responseKeys(await setupRecipient(recipient, fromHex(vectors.enc)), fromHex(vectors.response_nonce))
    const sealer = new FrameSealer(keys.response)
    const frames: Uint8Array[] = []
    for (const plain of vectors.response_plain) frames.push(await sealer.seal(utf8(plain)))
    expect(toHex(Buffer.concat(frames))).toBe(vectors.response_wire)
    const headers = { 'ehbp-response-nonce': vectors.response_nonce, 'x-veritee-sealed-receipt-key': vectors.sealed_receipt_key }
    const response = await openResponse(await sealed(), 200, headers)
    expect((await response.frames.push(fromHex(vectors.response_wire))).map(fromUtf8)).toEqual(vectors.response_plain)
    response.frames.end()
    expect(response.receiptCredential).toBe(vectors.receipt_credential)
    expect(toHex(response.receiptKey ?? new Uint8Array(0))).toBe(vectors.receipt_key)
    for (const plain of vectors.response_plain) expect(utf8(plain).length % 256).toBe(0)
  })

  it.each(vectors.refused_frames)('refused: $why', async ({ wire, code }) => {
    expect(await refusal(() => opened(wire))).toBe(code)
  })

  it.each(vectors.refused_lines)('refused as a line: $why', async ({ plain, code }) => {
    expect(await refusal(async () => unbindBody(utf8(plain)))).toBe(code)
  })
})
