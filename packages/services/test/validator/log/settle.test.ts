import { leafHash, toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Logged, loggedReceipt, origin, promisedBy } from '../../../../veritee/test/fraud/logged.ts'
import { createEnclave, createOperator, type TestEnclave } from '../../../../veritee/test/receipt/enclaves.ts'
import type { Audited } from '../../../src/validator/audit/audit.ts'
import type { FoundEntry } from '../../../src/validator/log/access.ts'
import { type SettlingLog, settle } from '../../../src/validator/log/settle.ts'
import { imitationRecord } from '../epoch/imitation.ts'

/** When receipts are looked for no longer. */
const until = promisedBy + 4800
let worker: TestEnclave
let report: string
let receipts: Logged[]
beforeAll(async () => {
  worker = await createEnclave('worker', { operator: createOperator() })
  report = await worker.report(null)
  receipts = await Promise.all([0, 1, 2, 3].map((place) => loggedReceipt(worker, place)))
})

/** A log by what it has, and the time to which its witnesses have come. */
let logged: Logged[]
let witnessedAt: number
let away: boolean
beforeEach(() => {
  logged = []
  witnessedAt = promisedBy + 61
  away = false
})

const receipt = (place: number): Logged => receipts[place] as Logged

function log(changes: Partial<SettlingLog> = {}): SettlingLog {
  const up = (): void => {
    if (away) throw fail('service_unavailable', 'away')
  }
  return {
    trust: { origin } as SettlingLog['trust'],
    find: async (entry) => {
      up()
      const leaf = toHex(await leafHash(entry))
      const index = logged.findIndex((one) => toHex(one.leaf) === leaf)
      return index < 0 ? null : ({ index, proof: '' } as FoundEntry)
    },
    checkpoint: async () => {
      up()
      return { witnessedAt, size: logged.length } as Awaited<ReturnType<SettlingLog['checkpoint']>>
    },
    leaves: async () => {
      up()
      return { from: 0, leaves: logged.map(({ leaf }) => leaf) }
    },
    views: async (bundle) => logged.slice(256 * bundle, 256 * bundle + 256).map(({ view }) => view),
    ...changes,
  }
}

function audited(place: number, changes: object = {}, evidence: object = {}): Audited {
  const { receipt: text, key } = receipt(place)
  const probe = { index: 0, after: 0, messages: [], options: { stream: false, max_tokens: 1 }, account: 0 }
  return {
    record: { ...imitationRecord(probe as never), verdict: 'pass', reason: null, charged: null, ...changes },
    evidence: {
      request: '',
      response: '',
      contentType: '',
      report,
      workerReceipt: text,
      receiptKey: key === null ? null : toHex(key),
      replay: null,
      ...evidence,
    },
  }
}

const at = (unixSeconds: number): Date => new Date(unixSeconds * 1000)
const settled = (one: Audited, unixSeconds: number, from = log()): Promise<Audited | null> => settle(one, from, at(unixSeconds), until)
const omitted = { verdict: 'fail', reason: 'log_omitted', charged: 'worker' }
const pending = { verdict: 'inconclusive', reason: 'log_pending', charged: null }

describe('S21: a receipt of own traffic in the log that it promised', () => {
  it('is named where it is found, before its time is over and after', async () => {
    logged = [receipt(0), receipt(1)]
    for (const time of [promisedBy - 600, until]) {
      const { record } = (await settled(audited(1), time)) as Audited
      expect(record).toMatchObject({ verdict: 'pass', view: { log: { origin, index: 1, leaf: toHex(receipt(1).leaf) } } })
    }
  })

  it('is waited for as long as there is time, also where a later one of its keyset is there', async () => {
    logged = [receipt(0), receipt(2)]
    expect(await settled(audited(1), promisedBy - 600)).toBeNull()
    expect(await settled(audited(1), until - 1)).toBeNull()
  })

  it('is its worker`s fault where it is absent at the end, its promise is due and a later one is there', async () => {
    logged = [receipt(0), receipt(2)]
    expect((await settled(audited(1), until))?.record).toMatchObject(omitted)
    // A fault that was found before stays, and is told where it is.
    const mismatch = { verdict: 'fail', reason: 'replay_mismatch', charged: 'worker' }
    expect((await settled(audited(1, mismatch), until))?.record).toMatchObject(mismatch)
    const nothing = { verdict: 'inconclusive', reason: 'replay_unavailable' }
    expect((await settled(audited(1, nothing), until))?.record).toMatchObject(omitted)
  })

  it('charges nobody where its promise is not due by what the witnesses say, whatever this clock says', async () => {
    logged = [receipt(0), receipt(2)]
    witnessedAt = promisedBy + 60
    expect((await settled(audited(1), until + 100_000))?.record).toMatchObject(pending)
  })

  it('is looked for once more after the later one was seen: both may have come meanwhile', async () => {
    const from = log({
      views: async () => {
        logged = [receipt(0), receipt(1), receipt(2)]
        return logged.map(({ view }) => view)
      },
    })
    logged = [receipt(0), receipt(2)]
    expect((await settled(audited(1), until, from))?.record).toMatchObject({ verdict: 'pass', view: { log: { index: 1 } } })
  })

  it('is in its place where its leaf stands in the tree, though the log says that it has none', async () => {
    logged = [receipt(0), receipt(1), receipt(2)]
    const lying = log({ find: async () => null })
    expect((await settled(audited(1), until, lying))?.record).toMatchObject({
      verdict: 'pass',
      view: { log: { index: 1, leaf: toHex(receipt(1).leaf) } },
    })
    const shifted = log({ find: async () => null, leaves: async () => ({ from: 4096, leaves: logged.map(({ leaf }) => leaf) }) })
    expect((await settled(audited(1), until, shifted))?.record).toMatchObject({ verdict: 'pass', view: { log: { index: 4097 } } })
  })

  it('charges nobody where the leaves do not make up the tree that the witnesses have signed', async () => {
    logged = [receipt(0), receipt(2)]
    const lying = log({ leaves: async () => Promise.reject(fail('epoch_log_invalid', 'another root')) })
    expect((await settled(audited(1), until, lying))?.record).toMatchObject({ verdict: 'inconclusive', reason: 'log_unavailable', charged: null })
  })

  it('nothing is looked for under another key than the receipt commits to', async () => {
    logged = [receipt(2)]
    const other = audited(1, {}, { receiptKey: '00'.repeat(32) })
    expect(await settled(other, until)).toBe(other)
  })
})

describe('S21, S5: an outage charges no honest worker', () => {
  it('of the log, beyond the promise, its grace and every retry: what the worker kept comes in its order, and later', async () => {
    // Nothing answers while the promise becomes due.
    away = true
    for (const time of [promisedBy - 600, promisedBy, promisedBy + 61, promisedBy + 2000]) expect(await settled(audited(1), time)).toBeNull()
    // It is back, witnessed at once, and the worker has not tried again yet.
    away = false
    logged = [receipt(0)]
    witnessedAt = promisedBy + 2001
    expect(await settled(audited(1), promisedBy + 2001)).toBeNull()
    // Whatever the worker has brought when the time is over, it is in order: nothing later than what is missing.
    for (let brought = 1; brought < receipts.length; brought++) {
      logged = receipts.slice(0, brought)
      for (const place of [0, 1, 2, 3]) {
        const record = (await settled(audited(place), until))?.record
        expect(record).toMatchObject(place < brought ? { verdict: 'pass', view: { log: { index: place } } } : pending)
      }
    }
  })

  it('of the log to the end', async () => {
    away = true
    expect((await settled(audited(1), until))?.record).toMatchObject({ verdict: 'inconclusive', reason: 'log_unavailable', charged: null })
  })

  it('of the validator, which looks for the first time when all time is over', async () => {
    logged = [receipt(0)]
    witnessedAt = until + 100_000
    expect((await settled(audited(1), until + 100_000))?.record).toMatchObject(pending)
  })

  it('of the views, or where the log gives this validator none', async () => {
    logged = [receipt(0), receipt(2)]
    expect((await settled(audited(1), until, log({ views: async () => null })))?.record).toMatchObject(pending)
    const refused = log({ views: async () => Promise.reject(fail('service_refused', '403')) })
    expect((await settled(audited(1), until, refused))?.record).toMatchObject({ verdict: 'inconclusive', reason: 'log_unavailable' })
  })

  it('nor do views that are another`s, an earlier one, one whose signature does not hold, or one that is not in the tree', async () => {
    const stranger = await loggedReceipt(await createEnclave('worker', { operator: createOperator() }), 2)
    logged = [receipt(0), stranger]
    expect((await settled(audited(1), until))?.record).toMatchObject(pending)
    const unsigned = receipt(2).view.replace(/"signature":"[0-9a-f]{8}/, '"signature":"00000000')
    for (const line of [unsigned, `{"x":"${worker.digest}"`, receipt(2).view]) {
      const from = log({ views: async (bundle) => (bundle === 0 ? [receipt(0).view, line] : []) })
      logged = [receipt(0)]
      expect((await settled(audited(1), until, from))?.record).toMatchObject(pending)
    }
  })
})
