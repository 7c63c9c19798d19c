import { Identity } from 'ehbp'
import { concatAll, fromHex, fromUtf8, toHex, utf8 } from 'veritee/bytes'
import { ehbpHeaders, FrameOpener, FrameSealer, responseKeys, setupRecipient } from 'veritee/ehbp'
import { expect, it } from 'vitest'
import { importX25519 } from '../../../veritee/src/crypto/node.ts'
import { FrameDecryptor, FrameWriter } from '../../src/enclave/runtime/ehbp/frames.ts'
import { AnswerKeys } from '../../src/enclave/runtime/ehbp/key-schedule.ts'
import { createRecipient } from '../../src/enclave/runtime/ehbp/recipient.ts'

it('what the ehbp client of its own project seals is opened here, and it opens what is sealed here', async () => {
  const own = importX25519(new Uint8Array(32).fill(7))
  const identity = await Identity.fromPublicKeyHex(toHex(own.publicKey))
  const { request, context } = await identity.encryptRequestWithContext(new Request('http://localhost/', { method: 'POST', body: 'question' }))
  if (context === null) throw new TypeError('nothing was sealed')
  const enc = fromHex(request.headers.get(ehbpHeaders.encapsulatedKey) ?? '', 32)
  const ours = await setupRecipient(own, enc)
  const opener = new FrameOpener(ours.request, { maxBytes: 100, maxFrames: 2 })
  expect(fromUtf8(concatAll(await opener.push(new Uint8Array(await request.arrayBuffer()))))).toBe('question')
  opener.end()

  const nonce = new Uint8Array(32).fill(9)
  const sealer = new FrameSealer((await responseKeys(ours, nonce)).response)
  const wire = concatAll([await sealer.seal(utf8('first ')), await sealer.seal(utf8('second'))])
  const headers = { [ehbpHeaders.responseNonce]: toHex(nonce) }
  const opened = await identity.decryptResponseWithContext(new Response(new Uint8Array(wire), { headers }), context)
  expect(await opened.text()).toBe('first second')
})

it('the same at a service, which derives keys without the library', async () => {
  const recipient = createRecipient()
  const identity = await Identity.fromPublicKeyHex(recipient.publicKey)
  const { request, context } = await identity.encryptRequestWithContext(new Request('http://localhost/', { method: 'POST', body: 'question' }))
  if (context === null) throw new TypeError('nothing was sealed')
  const ours = recipient.setup(fromHex(request.headers.get(ehbpHeaders.encapsulatedKey) ?? '', 32))
  const frames = new FrameDecryptor(ours.request, { maxBytes: 100, maxFrames: 2 })
  const plain: Buffer[] = []
  frames.push(new Uint8Array(await request.arrayBuffer()), (bytes) => plain.push(bytes))
  frames.end()
  expect(Buffer.concat(plain).toString()).toBe('question')

  const nonce = new Uint8Array(32).fill(9)
  const writer = new FrameWriter(new AnswerKeys(ours, nonce).response)
  const wire = concatAll([writer.seal(utf8('first ')), writer.seal(utf8('second'))])
  const headers = { [ehbpHeaders.responseNonce]: toHex(nonce) }
  const opened = await identity.decryptResponseWithContext(new Response(new Uint8Array(wire), { headers }), context)
  expect(await opened.text()).toBe('first second')
})
