import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { brokerSchema } from '../../src/config/broker.ts'
import { controllerSchema } from '../../src/config/controller.ts'
import { helpText, markdownTable } from '../../src/config/describe.ts'
import { logSchema, witnessSchema } from '../../src/config/log.ts'
import { fieldsOf, readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'

const least = ['--tee', 'simulate', '--state', '/tmp/state']
const enclave = ['--tee', 'gramine', '--state', '/tmp/state']
const td = ['--tee', 'tdx', '--state', '/tmp/state']
const token = 'a-token-that-nobody-would-ever-guess-0123456789'

interface Given {
  readonly args?: readonly string[]
  readonly environment?: { readonly [name: string]: string }
  readonly files?: { readonly [path: string]: string }
}

function read({ args = least, environment = {}, files = {} }: Given) {
  return readConfiguration(workerSchema, {
    args,
    environment,
    readText: async (path) => {
      const text = files[path]
      if (text === undefined) throw new Error(`no file ${path}`)
      return text
    },
  })
}

const file = (document: unknown): Given => ({
  args: [...least, '--config', 'c.json'],
  files: { 'c.json': typeof document === 'string' ? document : JSON.stringify(document) },
})

describe('a configuration', () => {
  it('has a default for everything but what must be said', async () => {
    const { configuration } = await read({})
    expect(configuration?.values).toMatchObject({
      enclave: { tee: 'simulate', state: '/tmp/state', collateral: null },
      listen: { host: '127.0.0.1', port: 21841, advertise: null, open: false, behind_tls: false, knows_simulated: false },
      models: { sources: [], publishers: [], broker: null },
      engine: { threads: 1, sequences: 4 },
      metrics: { host: '127.0.0.1', port: null },
      operations: { drain_seconds: 30 },
    })
  })

  it('takes flags before the file and the file before defaults, and lists from repeated flags', async () => {
    const given = file({ listen: { port: 1000, host: '10.0.0.1' }, engine: { threads: 3 }, models: { sources: ['x.gguf'] } })
    const args = [...(given.args ?? []), '--port=2000', '--model', 'a.gguf', '--model', 'sealed:dir', '--open']
    const { configuration, asked } = await read({ ...given, args })
    expect(configuration?.values.listen).toMatchObject({ port: 2000, host: '10.0.0.1', open: true })
    expect(configuration?.values.engine.threads).toBe(3)
    expect(configuration?.values.models.sources).toEqual(['a.gguf', 'sealed:dir'])
    expect(asked).toEqual({ help: false, json: false, check: false })
  })

  it('is named by VERITEE_CONFIG where no flag names it', async () => {
    const { configuration } = await read({ environment: { VERITEE_CONFIG: 'c.json' }, files: { 'c.json': '{"listen":{"port":7}}' } })
    expect(configuration?.values.listen.port).toBe(7)
  })

  it.each([
    ['an unknown flag', { args: [...least, '--prot', '1'] }, 'usage', /--prot/],
    ['a positional argument', { args: [...least, 'serve'] }, 'usage', /"serve"/],
    ['a short flag', { args: [...least, '-x'] }, 'usage', /"-x"/],
    ['a flag twice', { args: [...least, '--port', '1', '--port', '2'] }, 'usage', /--port: expected once/],
    ['a switch twice', { args: [...least, '--open', '--open'] }, 'usage', /once/],
    ['a switch with a value', { args: [...least, '--open=false'] }, 'usage', /no value/],
    ['a flag without its value', { args: [...least, '--port'] }, 'usage', /a value/],
    ['a flag that eats the next flag', { args: [...least, '--model', '--open'] }, 'usage', /a value/],
    ['the name of a member of Object as a flag', { args: [...least, '--constructor', 'x'] }, 'usage', /constructor/],
    ['nothing where something must be said', { args: ['--state', 'x'] }, 'config_invalid', /enclave\.tee.*--tee/],
    ['an unknown word', { args: ['--tee', 'none', '--state', 'x'] }, 'config_invalid', /"simulate" or .*"gramine" or "tdx"; found "none"/],
    ['a port out of bounds', { args: [...least, '--port', '65536'] }, 'config_invalid', /0 to 65535; found 65536/],
    ['a port in another base', { args: [...least, '--port', '0x10'] }, 'config_invalid', /found "0x10"/],
    ['a port with a sign', { args: [...least, '--port', '-1'] }, 'config_invalid', /found "-1"/],
    ['an empty port', { args: [...least, '--port='] }, 'config_invalid', /--port/],
    ['a URL with credentials', { args: [...least, '--controller', 'http://user:secret@host:1'] }, 'config_invalid', /--controller/],
    ['a URL with a path', { args: [...least, '--controller', 'http://host:1/v1'] }, 'config_invalid', /--controller/],
    ['a list with one thing twice', { args: [...least, '--model', 'a', '--model', 'a'] }, 'config_invalid', /--model/],
    ['a list that is too long', { args: [...least, ...Array.from({ length: 17 }, (_, i) => `--model=${i}`)] }, 'config_invalid', /at most 16/],
    ['a path with a line break', { args: ['--tee', 'simulate', '--state', 'a\nb'] }, 'config_invalid', /--state/],
    ['a text that is too long', { args: ['--tee', 'simulate', '--state', 'a'.repeat(1025)] }, 'config_invalid', /--state/],
    ['a publisher that is no key', { args: [...least, '--publisher', 'AB'.repeat(32)] }, 'config_invalid', /64 lower-case/],
    ['an unknown variable', { environment: { VERITEE_THREADS: '4' } }, 'config_invalid', /VERITEE_THREADS/],
    ['a variable of the client', { environment: { VERITEE_API_KEY: 'x' } }, 'config_invalid', /VERITEE_API_KEY/],
    ['a variable of Node in an enclave', { args: enclave, environment: { NODE_OPTIONS: '--require x' } }, 'config_invalid', /NODE_OPTIONS/],
    ['a variable of the loader in an enclave', { args: enclave, environment: { LD_PRELOAD: 'x' } }, 'config_invalid', /LD_PRELOAD/],
    ['a variable of the loader in a confidential VM', { args: td, environment: { LD_PRELOAD: 'x' } }, 'config_invalid', /LD_PRELOAD/],
    ['a variable of Node in a confidential VM', { args: td, environment: { NODE_OPTIONS: '--require x' } }, 'config_invalid', /NODE_OPTIONS/],
    ['a variable of the engine in an enclave', { args: enclave, environment: { GGML_NO_BACKTRACE: '1' } }, 'config_invalid', /GGML/],
    ['a file that is not JSON', file('{'), 'config_invalid', /c\.json/],
    ['a file with a member twice', file('{"listen":{"port":1,"port":2}}'), 'config_invalid', /c\.json/],
    ['a file that is a list', file([]), 'config_invalid', /an object/],
    ['a file that is too deep', file(`${'{"listen":'.repeat(10)}1${'}'.repeat(10)}`), 'config_invalid', /c\.json/],
    ['an unknown section', file({ liste: {} }), 'config_invalid', /no member but enclave, listen.*"liste"/],
    ['an unknown member', file({ listen: { prot: 1 } }), 'config_invalid', /listen: expected no member but host.*"prot"/],
    ['a section that is null', file({ listen: null }), 'config_invalid', /listen: expected an object/],
    ['a member of another type', file({ listen: { port: '1' } }), 'config_invalid', /listen\.port.*found "1"/],
    ['a number with a fraction', file({ engine: { threads: 1.5 } }), 'config_invalid', /engine\.threads/],
    ['null where a value must be', file({ engine: { threads: null } }), 'config_invalid', /engine\.threads/],
    ['a switch that is text', file({ listen: { open: 'false' } }), 'config_invalid', /true or false/],
    ['a list that is text', file({ models: { sources: 'demo' } }), 'config_invalid', /models\.sources/],
    ['a list with null in it', file({ models: { sources: ['demo', null] } }), 'config_invalid', /models\.sources/],
    ['a secret in the file', file({ secrets: { metrics: token } }), 'config_invalid', /"secrets"/],
    ['a secret that is short', { environment: { VERITEE_METRICS_TOKEN: 'short' } }, 'config_invalid', /^VERITEE_METRICS_TOKEN: expected 32/],
    [
      'a secret from two places',
      { args: [...least, '--metrics-token-file', 't'], environment: { VERITEE_METRICS_TOKEN: token }, files: { t: token } },
      'config_invalid',
      /found both/,
    ],
  ] as const)('refuses %s', async (_, given: Given, code, message) => {
    const error: unknown = await read(given).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
  })

  it('S7: what is in force is what is digested: the same whether it was said or is a default, another for any other value', async () => {
    const effective = async (given: Given): Promise<string> => JSON.stringify((await read(given)).configuration?.effective)
    const plain = await effective({})
    expect(await effective({ args: [...least, '--threads', '1'] })).toBe(plain)
    expect(await effective(file({ engine: { threads: 1 } }))).toBe(plain)
    for (const args of [['--threads', '2'], ['--open'], ['--model', 'demo'], ['--drain-seconds', '0']])
      expect(await effective({ args: [...least, ...args] })).not.toBe(plain)
  })

  it('S7: in an enclave the few variables that may be set are part of what is in force', async () => {
    const effective = async (environment: { [name: string]: string }) => (await read({ args: enclave, environment })).configuration?.effective
    expect(await effective({ PATH: '/bin', OMP_NUM_THREADS: '4' })).toMatchObject({ environment: { PATH: '/bin', OMP_NUM_THREADS: '4' } })
    expect(await effective({ VERITEE_METRICS_TOKEN: token })).toMatchObject({ environment: {} })
    expect((await read({ environment: { NODE_OPTIONS: 'x' } })).configuration?.effective).toMatchObject({ environment: {} })
    const simulatedTd = ['--tee', 'simulate-tdx', '--state', '/tmp/state']
    expect((await read({ args: simulatedTd, environment: { NODE_OPTIONS: 'x' } })).configuration?.effective).toMatchObject({ environment: {} })
    expect((await read({ args: td, environment: { TZ: 'UTC' } })).configuration?.effective).toMatchObject({ environment: { TZ: 'UTC' } })
  })

  it.each([['--controller', 'http://user:hunter2@host:1'], ['--metrics-token=hunter2'], ['--api-key=hunter2']])(
    'repeats no credential that stands in a wrong place: %s',
    async (...args) => {
      const error: unknown = await read({ args: [...least, ...args] }).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(Error)
      expect(String(error)).not.toContain('hunter2')
    },
  )

  it('never shows a secret, only where it came from', async () => {
    for (const given of [
      { environment: { VERITEE_METRICS_TOKEN: token } },
      { args: [...least, '--metrics-token-file', 't'], files: { t: `${token}\n` } },
    ]) {
      const { configuration } = await read(given)
      expect(configuration?.secrets.metrics).toBe(token)
      expect(JSON.stringify(configuration?.effective)).not.toContain(token.slice(0, 8))
      expect(configuration?.effective).toMatchObject({ secrets: { metrics: 'environment' in given ? 'environment' : 'file' } })
    }
    const error: unknown = await read({ environment: { VERITEE_METRICS_TOKEN: `${token} ` } }).catch((thrown: unknown) => thrown)
    expect(String(error)).not.toContain(token.slice(0, 8))
  })

  it('asks for nothing else where help is asked for', async () => {
    expect(await read({ args: ['--help'], environment: { VERITEE_X: '1' } })).toEqual({
      asked: { help: true, json: false, check: false },
      configuration: null,
    })
  })
})

describe.each([workerSchema, controllerSchema, brokerSchema, logSchema, witnessSchema])('the schema of a $role', (schema) => {
  it('is what docs/configuration.md says', async () => {
    const page = await readFile(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8')
    expect(page).toContain(markdownTable(schema as typeof workerSchema))
  })

  it('has each flag once, and help for each', () => {
    const flags = fieldsOf(schema as typeof workerSchema).flatMap(({ field }) => field.flag ?? [])
    expect(new Set(flags).size).toBe(flags.length)
    const help = helpText(schema as typeof workerSchema, 'summary')
    for (const flag of flags) expect(help).toContain(`--${flag}`)
  })
})
