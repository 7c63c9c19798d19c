import { describe, expect, it } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import { utf8 } from '../../src/bytes/index.ts'
import { type Content, contentText, parseContent } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'

const content: Content = {
  report: '{"a":1}',
  receipt: '{"b":2}',
  receiptKey: new Uint8Array(32).fill(7),
  request: utf8('{"prompt":"p"}'),
  response: utf8('answer'),
}
const document = (changes: object = {}): string => JSON.stringify({ ...JSON.parse(contentText(content)), ...changes })

describe('S6: content that a requester hands over', () => {
  it('is read as it was written, and is what the schema describes', () => {
    expect(parseContent(contentText(content))).toEqual(content)
    expect(complaints('content', JSON.parse(contentText(content)))).toEqual([])
  })
  it.each<[string, object]>([
    ['another version', { version: 'veritee.content.v2' }],
    ['no key', { receipt_key: null }],
    ['a short key', { receipt_key: '00' }],
    ['a report that is no text', { report: {} }],
    ['a body that is no base64', { request_b64: '%' }],
    ['a member more', { extra: 1 }],
  ])('refused by reader and schema: %s', async (_, changes) => {
    expect(await refusal(async () => parseContent(document(changes)))).toMatch(/^malformed_(document|encoding)$/)
    expect(complaints('content', JSON.parse(document(changes)))).not.toEqual([])
  })
  it('is bounded', async () => {
    expect(await refusal(async () => contentText({ ...content, request: new Uint8Array((1 << 20) + 1) }))).toBe('malformed_document')
    expect(await refusal(async () => contentText({ ...content, response: new Uint8Array((2 << 20) + 1) }))).toBe('malformed_document')
    const long = Buffer.alloc((1 << 20) + 1).toString('base64')
    expect(await refusal(async () => parseContent(document({ request_b64: long })))).toBe('malformed_document')
    expect(await refusal(async () => parseContent(' '.repeat((6 << 20) + 1)))).toMatch(/^malformed_/)
  })
})
