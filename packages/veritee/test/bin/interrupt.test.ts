import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { askOver } from '../../src/bin/service/asking.ts'
import { connect } from '../../src/client/index.ts'
import { type FakeService, fakeService } from '../client/service.ts'
import { machine, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { folder } from './cli.ts'

/** Ctrl-C as a terminal sends it: `script` (util-linux) gives the program a pseudo-terminal, and types into it what it reads. */

const script = '/usr/bin/script'
const lacks = process.platform !== 'linux' || !existsSync(script)
const program = fileURLToPath(new URL('../../src/bin/veritee.ts', import.meta.url))
const ctrlC = '\u0003'

const delta = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
const stream = [...Array.from({ length: 40 }, (_, i) => delta(`word${i} `)), 'data: [DONE]\n\n']

const files = folder()
let policy: string
let root: string
beforeAll(async () => {
  policy = files.write('policy.json', JSON.stringify(policyOf()))
  root = files.write('root.pem', certificatePem((await machine()).root))
})

class Person {
  screen = ''
  readonly ended: Promise<number | null>
  readonly #child: ChildProcess
  #looked = 0
  #told: () => void = () => undefined

  constructor({ url }: FakeService) {
    const words = [process.execPath, '--conditions=@veritee/source', program, 'chat', '--url', url, '--policy', policy, '--root', root]
    const child = spawn(script, ['-qfec', words.map((word) => `'${word}'`).join(' '), '/dev/null'], { env: { ...process.env, TERM: 'xterm' } })
    this.#child = child
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.screen += text
      this.#told()
    })
    this.ended = new Promise((resolve) => child.once('close', resolve))
  }

  /** Waits until something new stands on the screen. */
  async sees(what: string): Promise<void> {
    for (;;) {
      const at = this.screen.indexOf(what, this.#looked)
      if (at >= 0) {
        this.#looked = at + what.length
        return
      }
      const told = new Promise<void>((resolve) => {
        this.#told = resolve
      })
      await Promise.race([
        told,
        this.ended.then((code) => {
          if (!this.screen.includes(what, this.#looked)) throw new Error(`ended with ${code} before ${what}: ${this.screen}`)
        }),
      ])
    }
  }

  types(text: string): void {
    this.#child.stdin?.write(text)
  }
}

describe.skipIf(lacks)(`Ctrl-C in a conversation${lacks ? ' (left out: no script of util-linux)' : ''}`, { timeout: 30_000 }, () => {
  test('S9: stops the answer, whose beginning is proven as one and never as a whole; the conversation goes on, and again at the prompt it ends', async () => {
    const fake = await fakeService({ stream, pauseMs: 100 })
    const person = new Person(fake)
    await person.sees('> ')
    person.types('hello\r')
    await person.sees('word1 ')
    person.types(ctrlC)
    await person.sees('verified-prefix (INCOMPLETE): demo-model')
    await person.sees('> ')
    expect(person.screen).not.toContain('word39')
    fake.behaviour.pauseMs = 0
    person.types('and now?\r')
    await person.sees('word39')
    await person.sees('SIMULATED verified: demo-model')
    await person.sees('> ')
    person.types(ctrlC)
    expect(await person.ended).toBe(0)
    await fake.close()
  })

  test('before anything was asked it ends with 0, and nothing was sent', async () => {
    const fake = await fakeService({ stream })
    const person = new Person(fake)
    await person.sees('> ')
    person.types(ctrlC)
    expect(await person.ended).toBe(0)
    expect(fake.requests.filter((line) => line.startsWith('POST'))).toEqual([])
    await fake.close()
  })
})

test('S9: an answer that was stopped before it began is never a whole one', async () => {
  const fake = await fakeService({ stream, pauseMs: 20 })
  const connection = await connect(fake.url, { policy: policyOf(), trust: await trust() })
  const heard: string[] = []
  const options = { signal: AbortSignal.abort(), onText: (text: string) => void heard.push(text) }
  const { proof, text } = await askOver(connection, [{ role: 'user', content: 'hi' }], { model: 'demo-model', stream: true }, options)
  // What had come by then is proven as a beginning, and nobody was shown it.
  expect([proof.status, text, heard]).toEqual(['verified-prefix', '', []])
  connection.close()
  await fake.close()
})
