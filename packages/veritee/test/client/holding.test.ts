import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concatAll, fromUtf8, utf8 } from '../../src/bytes/index.ts'
import { Holding, type Mode, modes } from '../../src/client/exchange/holding.ts'
import { Outlet, streamOf } from '../../src/client/exchange/outlet.ts'
import { Receiving } from '../../src/client/exchange/receiving.ts'
import { sha } from '../receipt/enclaves.ts'

const event = fc.constantFrom(
  'data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}\n\n',
  'data: {"choices":[{"delta":{"content":"say \\"finish_reason\\":\\"stop\\" or [DONE]"},"finish_reason":null}]}\n\n',
  ': a comment\n\n',
  '\n\n',
  'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
  'data: [DONE]\n\n',
)
const ends = (text: string): boolean => text.includes('"finish_reason":"stop"}') || text.startsWith('data: [DONE]')

/** The bytes in the parts that these places cut them into. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return at.slice(1).map((end, i) => bytes.slice(at[i], end))
}

async function receive(
  parts: readonly Uint8Array[],
  mode: Mode,
  streaming: boolean,
): Promise<{ before: string; after: string; receiving: Receiving }> {
  const receiving = new Receiving(streaming)
  const holding = new Holding(mode, streaming)
  const before: Uint8Array[] = []
  for (const part of parts) {
    const pieces = receiving.split(part)
    for (const piece of pieces) await receiving.keep(piece)
    before.push(holding.take(pieces))
  }
  holding.hold(receiving.end())
  return { before: fromUtf8(concatAll(before)), after: fromUtf8(holding.release()), receiving }
}

describe('what is held back, however the network cuts it', () => {
  it('a reader gets every byte once and in order, the end not before the proof', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { maxLength: 12 }),
        fc.string({ maxLength: 5 }).filter((text) => !text.includes('\n')),
        fc.array(fc.nat(2000), { maxLength: 8 }),
        fc.constantFrom(...modes),
        async (events, rest, places, mode) => {
          const whole = events.join('') + rest
          const { before, after, receiving } = await receive(cut(utf8(whole), places), mode, true)
          expect(before + after).toBe(whole)
          expect([fromUtf8(receiving.body), await receiving.digest()]).toEqual([whole, sha(whole)])
          expect(receiving.stream?.events).toBe(whole.split('\n\n').length - 1)
          if (mode === 'buffered') expect(before).toBe('')
          if (mode === 'report') expect(after).toBe(rest)
          // Up to the first event that ends the answer, and no further.
          const last = events.findIndex(ends)
          if (mode === 'hold-last') expect(before).toBe(events.slice(0, last < 0 ? events.length : last).join(''))
        },
      ),
      { numRuns: 300 },
    )
  })
  it('of a plain body everything is held, unless the mode says report', async () => {
    for (const mode of modes) {
      const { before, after } = await receive([utf8('{"a'), utf8('":1}')], mode, false)
      expect([before, after]).toEqual(mode === 'report' ? ['{"a":1}', ''] : ['', '{"a":1}'])
    }
  })
  it.each([
    'data: [DONE]\n\n',
    'data:[DONE]\n\n',
    'event: x\ndata: [DONE]\n\n',
    'data: 1\rdata: [DONE]\n\n',
    'data: {"choices":[{"finish_reason" : "length"}]}\n\n',
    'event: response.completed\ndata: {}\n\n',
    'data: {"type":"response.failed"}\n\n',
    'data: {"type" : "response.incomplete"}\n\n',
  ])('%j ends an answer', async (text) => {
    expect((await receive([utf8(`data: {}\n\n${text}`)], 'hold-last', true)).before).toBe('data: {}\n\n')
  })
  it('an event that is no text is held', async () => {
    const { before } = await receive([utf8('data: 1\n\n'), Uint8Array.of(0xff, 10, 10)], 'hold-last', true).catch((error: unknown) => {
      // What was held is no text either.
      expect(error).toMatchObject({ code: 'malformed_encoding' })
      return { before: 'data: 1\n\n' }
    })
    expect(before).toBe('data: 1\n\n')
  })
})

describe('an outlet', () => {
  it.each(['end', 'fail'] as const)('given up while its reader waits: its %s afterwards harms nobody', async (how) => {
    let stopped: unknown
    const outlet = new Outlet((reason) => {
      stopped = reason
    })
    const reader = outlet.stream.getReader()
    const waiting = reader.read()
    // A stream asks its source when it has started, a turn later.
    await new Promise((resolve) => setTimeout(resolve))
    await reader.cancel('enough')
    expect(() => (how === 'end' ? outlet.end() : outlet.fail(new Error('broke off')))).not.toThrow()
    expect([stopped, await waiting]).toEqual(['enough', { done: true, value: undefined }])
  })

  const bytes = (length: number): Uint8Array => new Uint8Array(length)
  it('gives what was pushed, then its failure', async () => {
    const outlet = new Outlet(() => undefined)
    outlet.push(utf8('a'))
    outlet.push(utf8('b'))
    outlet.end({ error: new Error('broke off') })
    const reader = outlet.stream.getReader()
    expect([fromUtf8((await reader.read()).value ?? bytes(0)), fromUtf8((await reader.read()).value ?? bytes(0))]).toEqual(['a', 'b'])
    await expect(reader.read()).rejects.toThrow('broke off')
  })
  it('failed, gives nothing more of what waited', async () => {
    const outlet = new Outlet(() => undefined)
    outlet.push(utf8('a'))
    outlet.fail(new Error('rejected'))
    outlet.push(utf8('b'))
    await expect(outlet.stream.getReader().read()).rejects.toThrow('rejected')
  })
  it('makes its source wait for a slow reader, until somebody waits for the end', async () => {
    const outlet = new Outlet(() => undefined)
    outlet.push(bytes(1 << 20))
    const first = outlet.room()
    expect(first).toBeInstanceOf(Promise)
    await outlet.stream.getReader().read()
    await first
    outlet.push(bytes(1 << 20))
    const second = outlet.room()
    outlet.hurry()
    await second
    outlet.push(bytes(1 << 20))
    expect(outlet.room()).toBeUndefined()
  })
  it('tells its source when the reader leaves, and holds nobody up', async () => {
    const reasons: unknown[] = []
    const outlet = new Outlet((reason) => reasons.push(reason))
    outlet.push(bytes(1 << 20))
    const room = outlet.room()
    await outlet.stream.cancel('enough')
    await room
    expect([reasons, outlet.room()]).toEqual([['enough'], undefined])
  })
  it('a body as a stream lets go of what carries it once: at its end, its failure, or when it is given up', async () => {
    const body = async function* (fails: boolean): AsyncGenerator<Uint8Array> {
      yield utf8('a')
      if (fails) throw new Error('broke off')
    }
    let released = 0
    const done = (): void => void released++
    expect(await new Response(streamOf(body(false), done)).text()).toBe('a')
    expect(released).toBe(1)
    await expect(new Response(streamOf(body(true), done)).text()).rejects.toThrow('broke off')
    expect(released).toBe(2)
    await streamOf(body(false), done).cancel()
    expect(released).toBe(3)
  })
})
