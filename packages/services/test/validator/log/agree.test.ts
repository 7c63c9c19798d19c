import { closingRound, timeOfRound } from 'veritee/beacon'
import { toHex, utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { parseLogTrust, type VerifiedCheckpoint } from 'veritee/log'
import { type ReadFile, readFrom } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DemoLog, startDemoLog } from '../../../src/demo/log.ts'
import { LogAccess } from '../../../src/validator/log/access.ts'
import { type Agreeing, agreeOn, type Boundary } from '../../../src/validator/log/agree.ts'
import { checkpointFrom } from '../../../src/validator/log/range.ts'
import { imitationBeacon } from '../epoch/imitation.ts'

const closing: (() => Promise<unknown>)[] = []
const from = 1_800_000_000
const signal = new AbortController().signal
let log: DemoLog
let foreign: DemoLog
let chain: Agreeing['chain']
/** What a validator saw of the log that looked at 1, 4 and 7 seconds, and one before the time, in this order. */
let notes: readonly VerifiedCheckpoint[]
let early: VerifiedCheckpoint
let others: VerifiedCheckpoint
beforeAll(async () => {
  let seconds = from - 10
  const now = (): Date => new Date(seconds * 1000)
  log = await startDemoLog(now, closing)
  foreign = await startDemoLog(now, closing)
  chain = (await imitationBeacon()).chain
  const access = await accessTo(log)
  const seenAt = async (time: number, of = access): Promise<VerifiedCheckpoint> => {
    seconds = time
    await of.submit(utf8(`entry at ${time}`))
    return checkpointFrom(of, time, time + 10, { now, signal })
  }
  early = await seenAt(from - 5)
  notes = [await seenAt(from + 1), await seenAt(from + 4), await seenAt(from + 7)]
  others = await seenAt(from + 2, await accessTo(foreign))
}, 60_000)
afterAll(async () => {
  for (const stop of closing.reverse()) await stop()
})

const accessTo = async (of: DemoLog): Promise<LogAccess> => new LogAccess(await parseLogTrust(of.policy), of.place)
const noteOf = (i: number): VerifiedCheckpoint => notes[i] as VerifiedCheckpoint

/** What validators show each other, by whose it is and its name. */
class Shown {
  readonly files = new Map<string, string>()
  readonly reports: string[] = []
  at = from + 27

  async agree(i: number, own: VerifiedCheckpoint, name: Boundary, pause: () => Promise<void> = async () => undefined, count = 3): Promise<string> {
    const filesAt = (url: string): ReadFile => {
      const text = this.files.get(url)
      if (text === undefined) throw fail('service_refused', 'status 404')
      return readFrom(new Map([['checkpoint', text]]))
    }
    const agreeing: Agreeing = {
      access: await accessTo(log),
      peers: {
        urls: Array.from({ length: count }, (_, n) => `https://v${n}`).filter((_, n) => n !== i),
        filesAt: (url) => (path, maxBytes) => Promise.resolve(url).then((at) => filesAt(at)(path, maxBytes)),
        publish: async (dir, bundle) => void this.files.set(`https://v${i}/${dir}/`, bundle.get('checkpoint') ?? ''),
      },
      chain,
      now: () => new Date(this.at * 1000),
      signal,
      report: (line) => void this.reports.push(line),
      pause,
    }
    return agreeOn({ epoch: 5, name, own, from }, agreeing)
  }
}

describe('S16, S21: validators that took different checkpoints', () => {
  it('rest on the smallest of them, whoever looks in which order', async () => {
    const shown = new Shown()
    let waiting = 0
    const { promise: all, resolve: go } = Promise.withResolvers<void>()
    const pause = (): Promise<void> => {
      if (++waiting === 3) go()
      return all
    }
    const agreed = await Promise.all([2, 0, 1].map((note, i) => shown.agree(i, noteOf(note), 'closes', pause)))
    expect(agreed).toEqual([0, 1, 2].map(() => noteOf(0).note))
    // And show it from then on.
    expect([...shown.files.values()]).toEqual([0, 1, 2].map(() => noteOf(0).note))
    expect(shown.reports).toEqual([])
  })

  it('go on with their own where the others are gone, and one that comes late takes theirs', async () => {
    const shown = new Shown()
    expect(await shown.agree(0, noteOf(1), 'opens')).toBe(noteOf(1).note)
    expect(await shown.agree(1, noteOf(2), 'opens')).toBe(noteOf(1).note)
    shown.files.delete('https://v0/opens-5/')
    expect(await shown.agree(2, noteOf(2), 'opens')).toBe(noteOf(1).note)
  })

  it('take none from before the time, of another log, without the quorum, or that is no checkpoint', async () => {
    const unwitnessed = noteOf(0)
      .note.split('\n')
      .filter((line) => !line.startsWith('— veritee-demo/witness'))
      .join('\n')
    for (const note of [early.note, others.note, unwitnessed, 'x']) {
      const shown = new Shown()
      shown.files.set('https://v1/closes-5/', note)
      expect(await shown.agree(0, noteOf(1), 'closes')).toBe(noteOf(1).note)
    }
  })

  it('S16: take none to close an epoch whose round is known by then; to open one it does not matter', async () => {
    const known = timeOfRound(chain, closingRound(chain, noteOf(0).existedBy))
    for (const [at, name, taken] of [
      [known - 1, 'closes', 0],
      [known, 'closes', 1],
      [known, 'opens', 0],
    ] as const) {
      const shown = new Shown()
      shown.at = at
      shown.files.set(`https://v1/${name}-5/`, noteOf(0).note)
      expect(await shown.agree(0, noteOf(1), name)).toBe(noteOf(taken).note)
    }
  })

  it('of equal trees take one and the same note', async () => {
    const shown = new Shown()
    const renewed = { ...noteOf(0), note: `${noteOf(0).note}` } as VerifiedCheckpoint
    shown.files.set('https://v1/opens-5/', noteOf(0).note)
    expect(await shown.agree(0, renewed, 'opens')).toBe(noteOf(0).note)
    expect(toHex(noteOf(0).root)).not.toBe(toHex(noteOf(1).root))
  })
})
