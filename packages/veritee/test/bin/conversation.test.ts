import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { converse } from '../../src/bin/service/conversation.ts'
import { connect } from '../../src/client/index.ts'
import { type FakeService, fakeService } from '../client/service.ts'
import { sha, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'

const delta = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
const stream = [delta('four'), delta(' \u001b[2Jof course'), 'data: [DONE]\n\n']

/** What a person at a terminal reads who types these lines, each once the line before was answered. */
async function talk(fake: FakeService, typed: readonly string[], policy = policyOf()): Promise<{ code: number; screen: string }> {
  const connection = await connect(fake.url, { policy, trust: await trust() })
  const [input, output] = [new PassThrough(), new PassThrough()]
  let screen = ''
  output.on('data', (part) => {
    screen += String(part)
  })
  const pending = [...typed]
  const timer = setInterval(() => {
    if (!screen.endsWith('> ')) return
    const next = pending.shift()
    if (next === undefined) input.end()
    else {
      screen += `${next}\n`
      input.write(`${next}\n`)
    }
  }, 5)
  try {
    return { code: await converse(connection, { model: 'demo-model', stream: true }, { input, output }, null), screen }
  } finally {
    clearInterval(timer)
    connection.close()
  }
}

describe('a conversation', () => {
  it('shows each answer, and a line below it that says what was proven', async () => {
    const fake = await fakeService({ stream })
    const { code, screen } = await talk(fake, ['What is 2 + 2?', '/quit'])
    expect(code).toBe(0)
    expect(screen).toContain('SIMULATED: http://127.0.0.1:')
    expect(screen).toMatch(/four \[2Jof course\n\[SIMULATED verified: demo-model, weights sha256:[0-9a-f]{12}, worker sha256:[0-9a-f]{12}\]\n/)
    expect(screen).not.toContain('\u001b')
  })

  it('/proof shows the last proof in full, /json as JSON; before an answer there is none', async () => {
    const { screen } = await talk(await fakeService({ stream }), ['/proof', 'hi', '/proof', '/json', '/new', '/nonsense', '/help'])
    expect(screen).toContain('nothing was answered yet')
    expect(screen).toContain('This is exactly the answer that was signed')
    expect(screen).toContain('"version": "veritee.proof.v1"')
    expect(screen).toMatch(/forgotten\n/)
    expect(screen).toMatch(/unknown: \/nonsense; \/help\n/)
  })

  it('what is not wanted ends it with 1, and says why and what to do', async () => {
    const policy = policyOf({ models: { 'demo-model': [sha('other')] } })
    const { code, screen } = await talk(await fakeService({ stream }), ['hi', 'and again'], policy)
    expect([code, screen]).toEqual([1, expect.stringContaining('[REJECTED: policy_models: ')])
    expect(screen).toContain('[next: compare the weights')
    expect(screen).not.toContain('and again')
  })

  it('a service that keeps the receipt back is not proven; the conversation goes on', async () => {
    const fake = await fakeService({ stream, answers: { '/v1/aci/receipts': { status: 404, body: '' } } })
    const { code, screen } = await talk(fake, ['hi', '/quit'])
    expect([code, screen]).toEqual([0, expect.stringContaining('[NOT PROVEN: receipt_missing: ')])
  })
})
