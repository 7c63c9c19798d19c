import { describe, expect, it } from 'vitest'
import { fromUtf8, utf8 } from '../../src/bytes/index.ts'
import { type Binding, bindBody, checkBinding, checkBoundModel, maxBindingBytes, unbindBody } from '../../src/seal/ehbp/index.ts'
import { refusal } from '../bytes/refusal.ts'

const binding: Binding = {
  client_nonce: 'ab'.repeat(32),
  method: 'POST',
  model: 'demo',
  path: '/v1/chat/completions',
  session_id: 'cd'.repeat(32),
  v: 1,
}
const clear = { method: 'POST', path: '/v1/chat/completions', session_id: 'cd'.repeat(32), client_nonce: 'ab'.repeat(32) }

describe('the line that binds a body', () => {
  it('comes off as it was put on, whatever the body holds', () => {
    for (const body of ['', '{}', '\n', '{"a":\n1}']) {
      const { binding: found, body: rest } = unbindBody(bindBody(binding, utf8(body)))
      expect(found).toEqual(binding)
      expect(fromUtf8(rest)).toBe(body)
    }
  })

  it('S4: any difference from what came in clear is refused', async () => {
    checkBinding(binding, clear)
    checkBoundModel(binding, 'demo')
    const others = { method: 'GET', path: '/v1/completions', session_id: null, client_nonce: null }
    for (const [name, value] of Object.entries(others))
      expect(await refusal(async () => checkBinding(binding, { ...clear, [name]: value })), name).toBe('ehbp_binding_mismatch')
    expect(await refusal(async () => checkBinding({ ...binding, session_id: null }, clear))).toBe('ehbp_binding_mismatch')
    expect(await refusal(async () => checkBoundModel(binding, 'other'))).toBe('ehbp_binding_mismatch')
    expect(await refusal(async () => checkBoundModel({ ...binding, model: null }, 'demo'))).toBe('ehbp_binding_mismatch')
  })

  it('a refusal does not repeat what was sealed', async () => {
    const secret = { ...binding, model: 'secret-model' }
    await expect(async () => checkBoundModel(secret, 'other-model')).rejects.toThrow(/^(?!.*(secret-model|other-model))/)
  })

  it.each([
    ['nothing', new Uint8Array(0)],
    ['no line feed within the bound', utf8('{'.padEnd(maxBindingBytes, ' '))],
    ['a line feed just beyond the bound', utf8(`${'{'.padEnd(maxBindingBytes, ' ')}\n`)],
    ['no UTF-8', Uint8Array.of(0xff, 10)],
    ['a byte order mark', utf8(`\ufeff${JSON.stringify(binding)}\n`)],
    ['a list', utf8('[]\n')],
    ['deep', utf8('{"v":[[[[1]]]]}\n')],
    ['a member twice', utf8(`${JSON.stringify(binding).replace('"v":1', '"v":1,"v":1')}\n`)],
    ['a carriage return', utf8(`${JSON.stringify(binding)}\r\n`)],
    ['a version as text', utf8(`${JSON.stringify({ ...binding, v: '1' })}\n`)],
    ['a model of 257 characters', utf8(`${JSON.stringify({ ...binding, model: 'm'.repeat(257) })}\n`)],
    ['a path of 1025 characters', utf8(`${JSON.stringify({ ...binding, path: `/${'p'.repeat(1024)}` })}\n`)],
  ])('refused: %s', async (_why, plain) => {
    expect(await refusal(async () => unbindBody(plain))).toBe('ehbp_malformed')
  })

  it('a requester cannot seal a line that no receiver takes', async () => {
    expect(await refusal(async () => bindBody({ ...binding, client_nonce: 'AB'.repeat(32) }, utf8('{}')))).toBe('ehbp_malformed')
    expect(await refusal(async () => bindBody({ ...binding, path: `/${'p'.repeat(1024)}` }, utf8('{}')))).toBe('ehbp_malformed')
  })
})
