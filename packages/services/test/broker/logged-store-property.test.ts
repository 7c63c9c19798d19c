import fc from 'fast-check'
import { expect, it } from 'vitest'
import { LoggedStore } from '../../src/enclave/broker/freshness/logged-store.ts'
import { WitnessedLog } from '../../src/enclave/broker/freshness/witnessed-log.ts'
import { type BrokerState, type BrokerStore, headEntry, newState } from '../../src/enclave/broker/store/index.ts'
import { flooredClock } from '../../src/enclave/runtime/admission/clock.ts'
import { SmallLog } from './small-log.ts'

/** What a host does with brokers of one sealing key. */
type Act =
  /** Starts one over any file that ever was, beside those that run. */
  | { readonly do: 'start'; readonly file: number }
  /** A change that the broker answers, if it does. */
  | { readonly do: 'change'; readonly who: number }
  /** One over such a file is shown the log as it once was, for ever. */
  | { readonly do: 'hold'; readonly file: number; readonly note: number }
  /** One over such a file ends between the disk and the log: a head is written, and the host keeps its entry. */
  | { readonly do: 'crash'; readonly file: number }
  /** An entry is added that was kept back, or that is in the log already. */
  | { readonly do: 'again'; readonly entry: number }
  | { readonly do: 'ask'; readonly who: number }

/** Counted from the newest one: mostly one of the last three, or any. */
const index = fc.oneof({ weight: 2, arbitrary: fc.nat({ max: 2 }) }, { weight: 1, arbitrary: fc.nat({ max: 200 }) })
const from = <T>(list: readonly T[], back: number): T | undefined => list[list.length - 1 - (back % Math.max(1, list.length))]
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('start' as const), file: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('change' as const), who: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('hold' as const), file: index, note: index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), file: index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('again' as const), entry: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('ask' as const), who: index }) },
)

/** Of two heads of one index the one that came second is no head, however late it is added and whoever then starts over the file that remembers it. */
const overtaken: Act[] = [
  { do: 'start', file: 0 },
  { do: 'crash', file: 0 },
  { do: 'change', who: 0 },
  { do: 'again', entry: 0 },
  { do: 'start', file: 2 },
  { do: 'ask', who: 0 },
]

interface Process {
  readonly store: BrokerStore
  readonly logged: LoggedStore
  readonly log: WitnessedLog
}

it('S11: whatever files a host puts back, whatever runs beside each other and wherever a process ends: who releases knows every change that was answered', async () => {
  const now = (): Date => new Date(1_800_000_000_000)
  const headKey = new Uint8Array(32).fill(7)
  /** Releases, and refusals for another history: both must occur. */
  let [released, refused] = [0, 0]
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 30 }), async (acts) => {
      // A change is a resource more.
      const log = await SmallLog.make()
      const files: BrokerState[] = [newState()]
      const answered = new Set<string>()
      const running: Process[] = []
      const kept: Uint8Array[] = []
      const notes: string[] = []
      let changes = 0
      const add = async (entry: Uint8Array): Promise<void> => {
        await log.submitAt(now)(entry)
        notes.push(log.note)
      }
      const start = (file: BrokerState, submit = add, note: string | null = null): Process => {
        let state = file
        const store: BrokerStore = {
          source: 'memory',
          identity: { id: file.id, headKey },
          generation: 0,
          get state() {
            return state
          },
          failure: null,
          commit: async (next) => {
            state = next(state)
            files.push(state)
            return state
          },
          note: () => undefined,
          close: () => Promise.resolve(),
        }
        const watch = new WitnessedLog({
          trust: log.trust,
          read: (path) => (note !== null && path === 'checkpoint' ? Promise.resolve(new TextEncoder().encode(note)) : log.read(path)),
          clock: flooredClock(now),
          elapsedMs: () => 0,
          maxAgeSeconds: 3600,
          store: store.identity,
        })
        return { store, log: watch, logged: new LoggedStore({ store, log: watch, submit, lookMs: 0, looks: 3 }) }
      }
      const pick = (who: number): Process | undefined => from(running, who)
      for (const one of acts) {
        if (one.do === 'start' || one.do === 'hold') {
          const file = from(files, one.file) as BrokerState
          const begun = start(file, add, one.do === 'hold' ? (from(notes, one.note) ?? null) : null)
          running.push(begun)
          await begun.logged.advance().catch(() => undefined)
        } else if (one.do === 'crash') {
          // What the file remembers may still be added, and what is drawn after it is not: no process draws a head before the log shows the one that its store remembers.
          const file = from(files, one.file) as BrokerState
          const remembered = file.head === null ? null : headEntry({ id: file.id, headKey }, file.head)
          const ending = start(file, (entry) => {
            if (remembered !== null && Buffer.from(entry).equals(remembered)) return add(entry)
            kept.push(entry)
            return Promise.reject(new Error('the process has ended'))
          })
          await ending.logged.advance().catch(() => undefined)
        } else if (one.do === 'again') {
          const entry = from([...log.entries, ...kept], one.entry)
          if (entry !== undefined) await add(entry)
        } else {
          const process = pick(one.who)
          if (process === undefined) continue
          if (one.do === 'change') {
            const name = `a/b/${++changes}`
            const resource = { version: 1, value: null, policy: '{}', evidence: 'quote', changed: '2026-01-01T00:00:00.000Z' } as const
            await process.store.commit((state) => ({ ...state, resources: { ...state.resources, [name]: resource } }))
            await process.logged.advance().then(
              () => answered.add(name),
              () => undefined,
            )
          } else {
            await process.log.refresh()
            try {
              process.logged.demand()
            } catch {
              refused++
              continue
            }
            released++
            for (const name of answered) expect(Object.keys(process.store.state.resources)).toContain(name)
          }
        }
      }
    }),
    { numRuns: 100, examples: [[overtaken]] },
  )
  expect(released).toBeGreaterThan(20)
  expect(refused).toBeGreaterThan(20)
}, 300_000)
