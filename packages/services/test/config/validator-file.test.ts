import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { validatorFile } from '../../src/config/validator-file.ts'

describe('the file of a validator', () => {
  it('is read as arguments are', () => {
    expect(validatorFile('{"network":"n","threshold":2,"probes":50,"signer":["a","b"],"model":["m=/m.gguf"],"scoring-policy":"/s.json"}')).toEqual({
      network: 'n',
      threshold: '2',
      probes: '50',
      signer: ['a', 'b'],
      model: ['m=/m.gguf'],
      'scoring-policy': '/s.json',
    })
    expect(validatorFile('{"access-tokens":true}')).toEqual({ 'access-tokens': true })
    expect(() => validatorFile('{"access-tokens":"yes"}')).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    expect(validatorFile('{}')).toEqual({})
  })

  it('may say each option of the command, but where it is itself and what only looks', async () => {
    const source = await readFile(new URL('../../src/bin/commands/validator.ts', import.meta.url), 'utf8')
    const [, declared = ''] = /^const options = \{([\s\S]*?)^\}/m.exec(source) ?? []
    const found = [...declared.matchAll(/^ {2}'?([a-z-]+)'?: \{ type: 'string'(, multiple)?/gm)].filter(
      ([, name = '']) => !['config', 'epoch'].includes(name),
    )
    expect(found.length).toBeGreaterThan(15)
    for (const [, name = '', multiple] of found) {
      const values = multiple !== undefined ? [['a']] : ['a', 1]
      const read = values.map((value) => {
        try {
          return Object.keys(validatorFile(JSON.stringify({ [name]: value })))
        } catch {
          return null
        }
      })
      // A text or a number, and never both.
      expect(
        read.filter((one) => one !== null),
        name,
      ).toEqual([[name]])
    }
  })

  it.each([
    ['an option that there is not', '{"netwrok":"n"}', 'config_invalid'],
    ['a file that names another', '{"config":"x"}', 'config_invalid'],
    ['an action of another command', '{"epoch":"1"}', 'config_invalid'],
    ['a number as a text', '{"threshold":"2"}', 'config_invalid'],
    ['a part of a number', '{"probes":1.5}', 'config_invalid'],
    ['less than nothing', '{"epochs":-1}', 'config_invalid'],
    ['one text where several may be', '{"signer":"ab"}', 'config_invalid'],
    ['a list in a list', '{"signer":[["ab"]]}', 'config_invalid'],
    ['a list', '[]', 'config_invalid'],
    ['a member twice', '{"key":"a","key":"b"}', 'malformed_json'],
    ['no JSON', 'network: n', 'malformed_json'],
  ])('refuses %s', (_, text, code) => {
    expect(() => validatorFile(text)).toThrow(expect.objectContaining({ code }))
  })
})
