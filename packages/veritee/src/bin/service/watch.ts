import { setTimeout as sleep } from 'node:timers/promises'
import { fail, VeriteeError } from '../../errors.ts'
import { type Command, command, type Given, type Options, one, shared, wholeNumber } from '../terminal/command.ts'
import { readTextIfThere } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { errorOf, exitCodes, exitOf, writeLines } from '../terminal/print.ts'
import { changesBetween, parseSnapshot, type Snapshot, snapshotOf } from './snapshot.ts'
import { mostWorkers, usualWorkers, wholeVerifier } from './target.ts'
import type { Whole } from './whole.ts'

const options = {
  policy: shared.policy,
  release: shared.release,
  role: shared.serviceRole,
  root: shared.root,
  interval: { type: 'string', value: 'SECONDS', default: '300', help: 'from the end of one verification to the next' },
  count: { type: 'string', value: 'N', help: 'verify so many times (default: until something is rejected)' },
  state: { type: 'string', value: 'FILE', help: 'compare with what an earlier run left there, and leave there what is so now' },
  'max-workers': { type: 'string', value: 'N', default: String(usualWorkers), help: 'verify so many of the workers' },
  json: { ...shared.json, help: 'one JSON document a line, for each verification' },
} as const satisfies Options

/** What `--count` ends with where something changed that is still accepted. */
const changedExit = 4

export const watch: Command = command({
  name: 'watch',
  operands: 'URL',
  summary: 'verify a whole service again and again, and tell what changed',
  options,
  notes: [
    'As veritee verify URL, with --policy. A rejection ends it at once; what could not be asked is told, and asked again.',
    'For a monitor: veritee watch URL --policy FILE --state FILE --count 1. New keys of the same code are a change too: every enclave makes new ones within a day.',
  ],
  exits: {
    0: 'accepted, and as before',
    1: 'rejected',
    3: 'could not be asked, the last time',
    [changedExit]: 'accepted each time, and something changed',
  },
  run,
})

/** One verification: a verdict, or why there is none. */
interface Round {
  readonly at: Date
  readonly whole: Whole | null
  readonly error: { readonly code: string; readonly message: string } | null
  /** Null the first time: there is nothing to compare with. */
  readonly changes: readonly string[] | null
}

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const url = one(positionals, 'URL')
  if (!/^https?:\/\//i.test(url)) throw fail('usage', `expected an http or https URL, found ${JSON.stringify(url.slice(0, 200))}`)
  const intervalMs = wholeNumber(values.interval, '--interval', 1, 86_400) * 1000
  const count = values.count === undefined ? Number.POSITIVE_INFINITY : wholeNumber(values.count, '--count', 1, 999_999_999)
  const verifyAgain = await wholeVerifier(url, { ...values, maxWorkers: wholeNumber(values['max-workers'], '--max-workers', 1, mostWorkers) })
  let before = values.state === undefined ? null : await readState(values.state, url)
  let changed = false
  let exit = 0
  for (let n = 1; ; n++) {
    const round = await oneRound(verifyAgain, before)
    show(round, values.json)
    if (round.whole !== null && round.error === null) {
      before = snapshotOf(round.whole)
      if (values.state !== undefined) await writeOutput(values.state, `${JSON.stringify(before)}\n`)
    }
    exit = exitOf(round.whole?.error ?? null)
    if (exit === exitCodes.rejected) return exit
    if (round.whole === null) exit = exitCodes.unavailable
    changed ||= (round.changes ?? []).length > 0
    if (n >= count) return exit === 0 && changed ? changedExit : exit
    await sleep(intervalMs)
  }
}

async function oneRound(verifyAgain: () => Promise<Whole>, before: Snapshot | null): Promise<Round> {
  const at = new Date()
  try {
    const whole = await verifyAgain()
    const changes = before === null || whole.error !== null ? null : changesBetween(before, snapshotOf(whole))
    return { at, whole, error: whole.error, changes }
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind !== 'unavailable') throw error
    return { at, whole: null, error: errorOf(error), changes: null }
  }
}

function show({ at, whole, error, changes }: Round, json: boolean): void {
  const time = at.toISOString()
  if (json) {
    const verdict = whole?.verdict ?? 'unavailable'
    writeLines([
      JSON.stringify({ at: time, verdict, simulated: whole?.simulated ?? null, error, changes, now: whole === null ? null : snapshotOf(whole) }),
    ])
    return
  }
  if (whole === null || error !== null) {
    writeLines([
      `${time} ${whole === null || exitOf(whole.error) === exitCodes.unavailable ? 'UNAVAILABLE' : 'REJECTED'}: ${error?.code}: ${error?.message}`,
    ])
    return
  }
  const counts = `${whole.workers.length} workers, ${whole.models.length} models, keys ${whole.service.keysetDigest}`
  const standing = changes === null ? 'first' : changes.length === 0 ? 'as before' : 'CHANGED'
  writeLines([`${time} ACCEPTED${whole.simulated ? ', SIMULATED' : ''}, ${standing}: ${counts}`, ...(changes ?? []).map((change) => `  ${change}`)])
}

async function readState(path: string, url: string): Promise<Snapshot | null> {
  const text = await readTextIfThere(path)
  if (text === null) return null
  const kept = parseSnapshot(text, path)
  if (kept.url !== new URL(url).origin) throw fail('usage', `--state: ${path} is of ${kept.url}, not of ${new URL(url).origin}`)
  return kept
}
