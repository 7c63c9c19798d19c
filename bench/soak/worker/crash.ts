import { eventOf, type Keyset, parseReceipt, verifyReceipt } from 'veritee/receipt'
import { pinnedPool } from '../../../packages/services/src/controller/pinned-pool.ts'
import { Random } from '../random.ts'
import { startChild } from './child.ts'
import { type Judgement, judge, readReceipts } from './judge.ts'
import { startLoad } from './load.ts'
import type { Sent } from './requests.ts'
import { fetchText, keysetOf } from './steady.ts'

export interface CrashResult extends Judgement {
  readonly kills: number
  readonly requests: number
  /** Receipts that a requester was told of: the response had ended. */
  readonly acknowledged: number
  /** How many of these were fetched after a kill, over all kills. */
  readonly fetched: number
}

/** An answer that ended, and under which keyset. */
interface Acknowledged {
  readonly sent: Sent
  readonly keysetDigest: string
}

/** Receipts fetched after each kill, beside those of the run that was killed. */
const fetchedOfEarlier = 200

/**
 * Kills a worker under load with SIGKILL, again and again over the same state. After each restart every receipt of the killed run that was acknowledged, and
 * a sample of earlier ones, is fetched over HTTP and verified under its old keyset, whose report is fetched and verified too. At the end the whole store is judged.
 */
export async function runCrashes(options: {
  readonly directory: string
  readonly concurrency: number
  readonly kills: number
  /** A kill comes after 1 to this many answers, and a moment: by their number and not by the clock, so that it is never in vain. */
  readonly maxAnswers: number
  readonly seed: number
  readonly progress?: (line: string) => void
}): Promise<CrashResult> {
  const { directory, concurrency, kills, maxAnswers, seed, progress } = options
  const random = new Random(seed, 0)
  const counter = { next: 0 }
  const all: Sent[] = []
  const acknowledged: Acknowledged[] = []
  const roots = new Map<string, string>()
  const keysets = new Map<string, Keyset>()
  const findings: string[] = []
  let fetched = 0
  for (let kill = 0; kill <= kills; kill++) {
    // Where the store were corrupt this would throw.
    const worker = await startChild(directory)
    roots.set(worker.keysetDigest, worker.root)
    const last = acknowledged.filter(({ keysetDigest }) => !keysets.has(keysetDigest))
    const earlier = acknowledged.filter(({ keysetDigest }) => keysets.has(keysetDigest))
    const sample = Array.from({ length: Math.min(fetchedOfEarlier, earlier.length) }, () => random.pick(earlier))
    for (const digest of new Set(last.map(({ keysetDigest }) => keysetDigest)))
      keysets.set(digest, await keysetOf(worker, digest, roots.get(digest) ?? ''))
    const pool = pinnedPool(worker.url, worker.spki)
    const wanted = [...last, ...sample]
    for (let i = 0; i < wanted.length; i += 32)
      findings.push(...(await Promise.all(wanted.slice(i, i + 32).map((one) => refetch(pool, one, keysets)))).filter((found) => found !== null))
    fetched += wanted.length
    const [one] = wanted
    if (one !== undefined && (await fetchText(worker, `/v1/aci/receipts/${one.sent.id}`, 'another-key')).status !== 404)
      findings.push(`${one.sent.id}: served to another key after a restart`)
    await pool.destroy()
    if (kill === kills) {
      await worker.stop()
      break
    }
    const load = startLoad(worker, concurrency, seed, counter)
    await load.whole(1 + random.below(maxAnswers))
    await new Promise((resolve) => setTimeout(resolve, random.below(50)))
    await worker.kill()
    const sent = await load.end()
    all.push(...sent)
    const whole = sent.filter(({ end }) => end === 'whole')
    acknowledged.push(...whole.map((request) => ({ sent: request, keysetDigest: worker.keysetDigest })))
    progress?.(`kill ${kill + 1} of ${kills}: ${whole.length} acknowledged in this run, ${fetched} fetched, ${findings.length} findings`)
  }
  const judged = await judge(await readReceipts(directory), all, await withEvidence(directory, roots, keysets), true)
  return {
    ...judged,
    findings: [...findings.slice(0, 20), ...judged.findings],
    kills,
    requests: all.length,
    acknowledged: acknowledged.length,
    fetched,
  }
}

/** What is wrong with the receipt of an answer that ended, as the restarted worker serves it; null where nothing is. */
async function refetch(
  pool: ReturnType<typeof pinnedPool>,
  { sent, keysetDigest }: Acknowledged,
  keysets: ReadonlyMap<string, Keyset>,
): Promise<string | null> {
  const { statusCode, body } = await pool.request({
    method: 'GET',
    path: `/v1/aci/receipts/${sent.id}`,
    headers: { authorization: `Bearer ${sent.key}` },
  })
  const text = await body.text()
  if (statusCode !== 200) return `${sent.id}: acknowledged, and status ${statusCode} after the restart`
  try {
    const { requestHash, responseHash, nonce } = sent
    const receipt = parseReceipt(text)
    await verifyReceipt(receipt, keysets.get(keysetDigest) as Keyset, keysetDigest, { requestHash, responseHash, clientNonce: nonce })
    return eventOf(receipt, 'veritee.chain') === undefined ? `${sent.id}: no chain` : null
  } catch (error) {
    return `${sent.id}: ${error instanceof Error ? error.message : 'failed'}`
  }
}

/** Runs may have been killed before any answer ended, and yet have receipts: their keysets are fetched too. */
async function withEvidence(
  directory: string,
  roots: ReadonlyMap<string, string>,
  keysets: Map<string, Keyset>,
): Promise<ReadonlyMap<string, Keyset>> {
  const missing = [...new Set((await readReceipts(directory)).map(({ keysetDigest }) => keysetDigest))].filter((digest) => !keysets.has(digest))
  if (missing.length === 0) return keysets
  const worker = await startChild(directory)
  for (const digest of missing) keysets.set(digest, await keysetOf(worker, digest, roots.get(digest) ?? ''))
  await worker.stop()
  return keysets
}
