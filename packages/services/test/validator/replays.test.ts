import { fail } from 'veritee/errors'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ExchangeRecord, openReplayModel, type ReplayModel } from '../../src/replay/index.ts'
import { InTurn } from '../../src/validator/in-turn.ts'
import { type OwnEngines, runAgain } from '../../src/validator/replays.ts'
import { demoPath } from '../engine/demo.ts'
import { exchange, serveFile } from '../replay/worker.ts'

let record: ExchangeRecord
let own: ReplayModel
beforeAll(async () => {
  const served = await serveFile()
  record = await exchange(served, { max_tokens: 12, temperature: 0 })
  await served.engine.dispose()
  own = await openReplayModel(demoPath, 512)
}, 120_000)
afterAll(() => own.engine.dispose())

const bound = (target: object, name: string | symbol): unknown => {
  const found: unknown = Reflect.get(target, name)
  return typeof found === 'function' ? found.bind(target) : found
}

function memory(): Pick<OwnEngines['store'], 'keep'> {
  const facts = new Map<string, string>()
  return {
    keep: async (epoch, name, text) => {
      const kept = facts.get(`${epoch} ${name}`) ?? text
      facts.set(`${epoch} ${name}`, kept)
      return kept
    },
  }
}

/** By an engine that fails over as many answers. */
function engines(failing: number, error: () => unknown): OwnEngines & { readonly lines: string[] } {
  const lines: string[] = []
  let left = failing
  const engine = new Proxy(own.engine, {
    get: (target, name) => {
      if (name === 'generate' && left-- > 0) throw error()
      return bound(target, name)
    },
  })
  const models = new Map([['weights', { name: 'model', replay: { ...own, engine } }]])
  return {
    models,
    turn: new InTurn(),
    store: memory(),
    processId: 'this',
    signal: new AbortController().signal,
    report: (line) => void lines.push(line),
    lines,
  }
}

describe('S5: an answer over which the own engine fails', () => {
  it.each([
    ['engine_failed', () => fail('engine_failed', 'over a prompt'), 'engine_failed'],
    ['an error that nobody meant', () => new RangeError('over a prompt'), 'RangeError'],
  ] as const)('is not run again, by %s; the next one is', async (_, error, told) => {
    const of = engines(1, error)
    expect(await runAgain(of, 3, record, 'weights', null)).toBeNull()
    expect(of.lines).toEqual([`an answer of model was not run again: ${told}`])
    expect(await runAgain(of, 3, record, 'weights', null)).toMatchObject({ verdict: 'pass', level: 1 })
  })

  it('is waited for where the engine is not ready', async () => {
    let asked = 0
    const of = engines(0, () => null)
    const engine = new Proxy(own.engine, { get: (target, name) => (name === 'ready' ? ++asked > 3 : bound(target, name)) })
    const models = new Map([['weights', { name: 'model', replay: { ...own, engine } }]])
    expect(await runAgain({ ...of, models }, 3, record, 'weights', null)).toMatchObject({ verdict: 'pass' })
    expect(asked).toBeGreaterThan(3)
  })

  it('is not run by a third process, where two have ended over it', async () => {
    const { keep } = memory()
    const run = (processId: string, of = engines(0, () => null)) =>
      runAgain({ ...of, store: { keep }, processId }, 3, record, 'weights', null).then((report) => [report?.verdict ?? null, of.lines.length])
    expect([await run('a'), await run('a'), await run('b'), await run('c'), await run('b')]).toEqual([
      ['pass', 0],
      ['pass', 0],
      ['pass', 0],
      [null, 1],
      ['pass', 0],
    ])
  })

  it('is a stop where the validator is stopped', async () => {
    const stop = new AbortController()
    const of = {
      ...engines(1, () => {
        stop.abort(new Error('stopped'))
        return new RangeError()
      }),
      signal: stop.signal,
    }
    await expect(runAgain(of, 3, record, 'weights', null)).rejects.toThrow('stopped')
    expect(
      await runAgain(
        engines(0, () => null),
        3,
        record,
        'other weights',
        null,
      ),
    ).toBeNull()
  })
})
