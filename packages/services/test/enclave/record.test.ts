import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { decodeRecord, encodeRecord, inText, type ReceiptRecord } from '../../src/enclave/runtime/receipts/record.ts'

const record: ReceiptRecord = {
  id: 'rcpt-1',
  chatId: 'chatcmpl-1',
  credential: null,
  at: 1_800_000_000,
  refused: false,
  keysetDigest: `sha256:${'ab'.repeat(32)}`,
  sessionId: null,
  text: '{"model":"plain"}',
  leaves: null,
  upstream: { text: '{"model":"theirs"}', events: null },
}
/** Before it is kept. */
function inBytes(kept: ReceiptRecord): ReceiptRecord<Buffer> {
  const { text, upstream } = kept
  return { ...kept, text: Buffer.from(text), upstream: upstream === null ? null : { text: Buffer.from(upstream.text), events: upstream.events } }
}

const leaves = new Uint8Array(64).map((_, at) => at)

test('a record comes back as it was, wherever its characters take more than a byte', () => {
  const model = '{"model":"größe 模型 \u{1f600}"}'
  for (const text of [record.text, model, ''])
    for (const upstream of [null, record.upstream, { text: model, events: 3 }, { text: '', events: 0 }])
      for (const some of [null, leaves, new Uint8Array(0)])
        for (const chatId of ['chatcmpl-1', 'é', null]) {
          const kept = { ...record, text, upstream, leaves: some, chatId }
          expect(decodeRecord(encodeRecord(inBytes(kept)))).toEqual(kept)
          expect(inText(inBytes(kept))).toEqual(kept)
        }
})

test('its bytes are those that earlier releases have read and written', () => {
  const bytes = encodeRecord(inBytes({ ...record, leaves }))
  const json =
    `{"id":"rcpt-1","chatId":"chatcmpl-1","credential":null,"at":1800000000,"refused":false,"keysetDigest":"${record.keysetDigest}",` +
    '"sessionId":null,"events":null,"lengths":[17,18],"stream":true}'
  const head = Buffer.alloc(4)
  head.writeUInt32BE(json.length)
  const whole = Buffer.concat([head, Buffer.from(`${json}${record.text}${record.upstream?.text}`), leaves])
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(createHash('sha256').update(whole).digest('hex'))
})
