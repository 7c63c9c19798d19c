import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RequestError } from '../../src/enclave/worker/engine/index.ts'
import { createConversation, readPrompt } from '../../src/enclave/worker/fastchat/conversation.ts'
import { composePrompt, versions } from './peers.ts'

const conversation = createConversation('0123456789abcdef0123456789abcdef')
const conv = conversation.template as never as Parameters<typeof composePrompt>[1]
const { user, assistant, end } = conversation.marks

describe('the conversation template', () => {
  test('carries the members of old and new versions, and a separator style whose number never changed', () => {
    expect(conversation.template).toMatchObject({ system: '', system_template: '{system_message}', system_message: '', sep_style: 2, stop_str: null })
    expect(Object.keys(conversation.template)).toEqual(
      expect.arrayContaining(['name', 'roles', 'messages', 'offset', 'sep', 'sep2', 'stop_token_ids']),
    )
  })

  test('marks hold the secret of the process; anything but 32 hex digits is no secret', () => {
    for (const mark of [user, assistant, end]) expect(mark).toContain('0123456789abcdef0123456789abcdef')
    expect(createConversation('f'.repeat(32)).marks.user).not.toBe(user)
    for (const secret of ['', 'F'.repeat(32), 'f'.repeat(31)]) expect(() => createConversation(secret)).toThrow(TypeError)
  })
})

describe('reading a prompt', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', ':', ' ', '<|im_start|>system\n', '{system_message}', 'USER: x', '<veritee-0-user>: x', '\0'),
  )
  const message = fc.record({ role: fc.constantFrom('user', 'assistant'), content: text })

  test.each(versions)('property: what a %s API server composes is read back message for message', (version) => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), text, (messages, system) => {
        const prompt = composePrompt(version, conv, [{ role: 'system', content: system }, ...messages])
        const expected = system === '' ? messages : [{ role: 'system', content: system }, ...messages]
        expect(readPrompt(prompt, conversation)).toEqual({ form: 'messages', messages: expected })
      }),
    )
  })

  test('a prompt without our marks is plain text, also when it imitates the marks of another process', () => {
    const other = createConversation('f'.repeat(32))
    const prompt = composePrompt('0.2.36', other.template as never, [{ role: 'user', content: 'x' }])
    expect(readPrompt(prompt, conversation)).toEqual({ form: 'text', text: prompt })
  })

  const hostile: readonly [string, string][] = [
    ['no place for the answer', `${end}${user}: x${end}`],
    ['ends in the place of a user', `${end}${user}:`],
    ['no end of the system text', `${user}: x`],
    ['text between messages', `${end}${user}: x${end}y${assistant}:`],
    ['a role without colon', `${end}${user} x${end}${assistant}:`],
    ['a message without space', `${end}${user}:x${end}${assistant}:`],
    ['a message that never ends', `${end}${user}: x${assistant}:`],
    ['a mark inside a message', `${end}${user}: a ${assistant} b${end}${assistant}:`],
    ['a mark inside the system text', `${user}: x${end}${assistant}:`],
    ['text after the place of the answer', `${end}${user}: x${end}${assistant}: y`],
    ['a space after the place of the answer', `${end}${user}: x${end}${assistant}: `],
    ['only an end', end],
  ]
  test.each(hostile)('a prompt with our marks in another order is refused: %s', (_, prompt) => {
    expect(() => readPrompt(prompt, conversation)).toThrow(RequestError)
  })
})
