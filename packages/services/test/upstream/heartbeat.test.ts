import { once } from 'node:events'
import { eventOf } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { data, type FakeEngine, fakeEngine, json, sse } from './fake-engine.ts'
import { askFor, askResponse, outcomeIn, receiptOf, type UpstreamWorker, upstreamWorker } from './upstream-worker.ts'

/** Each engine here is silent until so many comments have come to the client, so that no test waits for a time to pass. */
describe('S9: while an external engine is silent, comments keep the stream', () => {
  let engine: FakeEngine
  let worker: UpstreamWorker
  beforeAll(async () => {
    engine = await fakeEngine('vllm', () => undefined)
    worker = await upstreamWorker(engine, 'vllm', {}, 20)
  })
  afterAll(async () => {
    await worker.close()
    await engine.close()
  })
  const comment = ': keep-alive'
  const first = data({ choices: [{ index: 0, delta: { role: 'assistant', content: 'Hello' }, finish_reason: null }] })
  const rest = [data({ choices: [{ index: 0, delta: { content: ' there' }, finish_reason: 'stop' }] }), data('[DONE]')]
  const stream = { 'content-type': 'text/event-stream' }

  /** Asks, and says so once three comments have come, after the first event that holds `behind`. */
  async function asking(ask: typeof askFor | typeof askResponse, heard: () => void, behind = '') {
    let comments = 0
    let begun = false
    const service = await worker.connect()
    const answer = await ask(
      service,
      { stream: true },
      {
        onEvent: (event) => {
          const text = Buffer.from(event).toString('utf8')
          begun ||= text.includes(behind)
          if (begun && text.startsWith(comment) && ++comments === 3) heard()
          return true
        },
      },
    )
    const text = Buffer.from(answer.responseBody).toString('utf8')
    return { answer, text, receipt: await receiptOf(worker, answer.receiptId) }
  }

  test.for([
    ['a chat', askFor],
    ['a response', askResponse],
  ] as const)('in the middle of %s: they are events like the others in hash and tree, and the answer verifies', async ([, ask]) => {
    const heard = Promise.withResolvers<void>()
    engine.chat = async (_, response) => {
      response.writeHead(200, stream).write(first)
      await heard.promise
      response.end(rest.join(''))
    }
    const { answer, text, receipt } = await asking(ask, heard.resolve, 'Hello')
    expect(answer.proof.outcome).toBe('verified')
    const between = text.slice(text.indexOf('Hello'), text.indexOf(' there'))
    expect(between.split(`${comment}\n\n`).length - 1).toBeGreaterThanOrEqual(3)
    expect(eventOf(receipt, 'veritee.stream')?.events).toBe(text.split('\n\n').length - 1)
    expect(outcomeIn(receipt)).toBe('complete')
  })

  test('before the engine has taken the request: the stream begins with them', async () => {
    const heard = Promise.withResolvers<void>()
    engine.chat = async (_, response) => {
      await heard.promise
      sse(response, [first, ...rest])
    }
    const { answer, text } = await asking(askFor, heard.resolve)
    expect([answer.proof.outcome, text.startsWith(comment)]).toEqual(['verified', true])
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  test.for([
    ['a chat', askFor, 'data: [DONE]\n\n', '"code":"context_length_exceeded"'],
    ['a response', askResponse, '}\n\n', 'event: response.failed'],
  ] as const)('what the engine refuses after the first of them is an error within the stream of %s', async ([, ask, end, told]) => {
    const heard = Promise.withResolvers<void>()
    engine.chat = async (_, response) => {
      await heard.promise
      json(response, { error: { message: 'exceeds the maximum context length' } }, 400)
    }
    const { answer, text, receipt } = await asking(ask, heard.resolve)
    expect(answer.proof.outcome).toBe('verified')
    expect(text).toContain(told)
    expect(text.endsWith(end)).toBe(true)
    if (ask === askResponse) expect(text.indexOf('response.created')).toBeLessThan(text.indexOf('response.failed'))
    expect(outcomeIn(receipt)).toBe('refused')
  })

  test('none come after the end, and none to one who left', async () => {
    const asked = Promise.withResolvers<void>()
    const closed = Promise.withResolvers<void>()
    engine.chat = async (_, response) => {
      response.writeHead(200, stream).write(first)
      asked.resolve()
      await once(response, 'close')
      closed.resolve()
    }
    let seen = 0
    const answer = await askFor(await worker.connect(), { stream: true }, { onEvent: () => ++seen < 3 })
    await closed.promise
    expect(answer.proof.outcome).toBe('verified-prefix')
    expect(outcomeIn(await receiptOf(worker, answer.receiptId))).toBe('aborted')
  })
})
