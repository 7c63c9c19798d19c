import { fromBase64 } from 'veritee/bytes'
import { type Keyset, parseReport, verifyReport } from 'veritee/receipt'
import { pinnedPool } from '../../../packages/services/src/controller/pinned-pool.ts'
import { type Figures, type Ready, startChild } from './child.ts'
import { type Judgement, judge, readReceipts } from './judge.ts'
import { startLoad } from './load.ts'
import type { Sent } from './requests.ts'

export interface SteadyResult extends Judgement {
  readonly requests: Readonly<Record<Sent['end'], number>>
  readonly samples: readonly Figures[]
}

/** The report that a worker serves of a keyset, verified under the root of the run that made it. */
export async function keysetOf(worker: Ready, keysetDigest: string, root: string): Promise<Keyset> {
  const text = await fetchText(worker, `/v1/veritee/keysets/${keysetDigest}`, null)
  const roots = [fromBase64(root)] as const
  const report = await verifyReport(parseReport(text.body), null, { roots }, new Date())
  if (report.keysetDigest !== keysetDigest) throw new Error(`expected the report of ${keysetDigest}, found that of ${report.keysetDigest}`)
  return report.keyset
}

export async function fetchText(worker: Ready, path: string, key: string | null): Promise<{ readonly status: number; readonly body: string }> {
  const pool = pinnedPool(worker.url, worker.spki)
  try {
    const { statusCode, body } = await pool.request({ method: 'GET', path, headers: key === null ? {} : { authorization: `Bearer ${key}` } })
    return { status: statusCode, body: await body.text() }
  } finally {
    await pool.destroy()
  }
}

/**
 * Rounds of load on one worker, with its memory measured after each while nothing is asked of it; then its receipts against what was sent.
 * `judge` says whether memory is flat: {@link leaks}.
 */
export async function runSteady(options: {
  readonly directory: string
  readonly concurrency: number
  readonly rounds: number
  readonly secondsPerRound: number
  readonly seed: number
  readonly progress?: (line: string) => void
}): Promise<SteadyResult> {
  const { directory, concurrency, rounds, secondsPerRound, seed, progress } = options
  const worker = await startChild(directory)
  const counter = { next: 0 }
  const sent: Sent[] = []
  const samples: Figures[] = []
  for (let round = 0; round < rounds; round++) {
    const load = startLoad(worker, concurrency, seed, counter)
    await new Promise((resolve) => setTimeout(resolve, secondsPerRound * 1000))
    sent.push(...(await load.end()))
    const sample = await worker.figures()
    samples.push(sample)
    progress?.(
      `round ${round + 1} of ${rounds}: ${sent.length} requests, heap ${mb(sample.heapUsed)} MB, RSS ${mb(sample.rss)} MB, ${sample.handles} handles`,
    )
  }
  const keysets = new Map([[worker.keysetDigest, await keysetOf(worker, worker.keysetDigest, worker.root)]])
  await worker.stop()
  const judged = await judge(await readReceipts(directory), sent, keysets, false)
  const requests = { whole: 0, left: 0, refused: 0, broken: 0 }
  for (const { end } of sent) requests[end]++
  const open = samples.filter(({ store }) => store.veritee_store_open_receipts !== 0 || store.veritee_store_waiting_receipts !== 0)
  const findings = [...judged.findings, ...(open.length > 0 ? ['receipts were open although nothing was asked'] : []), ...leaks(samples)]
  return { ...judged, findings, requests, samples }
}

/** Megabytes of growth that the caches of engine, TLS and SQLite may still have; a leak of a hundred bytes a request shows in a long run. */
const slackMb = { heapUsed: 4, rss: 60 } as const

/** Compares the mean of the last third of the samples with that of the third before, in which everything has been warm for long. */
export function leaks(samples: readonly Figures[]): string[] {
  if (samples.length < 6) return []
  const third = Math.floor(samples.length / 3)
  const mean = (part: readonly Figures[], name: 'heapUsed' | 'rss'): number => part.reduce((sum, figures) => sum + figures[name], 0) / part.length
  const [before, last] = [samples.slice(third, 2 * third), samples.slice(-third)]
  const found: string[] = []
  for (const name of ['heapUsed', 'rss'] as const) {
    const growth = (mean(last, name) - mean(before, name)) / 1e6
    if (growth > slackMb[name]) found.push(`${name} grew by ${growth.toFixed(1)} MB from the second to the last third`)
  }
  const handles = Math.max(...last.map((figures) => figures.handles)) - Math.max(...before.map((figures) => figures.handles))
  if (handles > 2) found.push(`${handles} more handles`)
  return found
}

export function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
