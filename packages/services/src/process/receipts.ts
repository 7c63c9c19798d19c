import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fail } from 'veritee/errors'
import { errnoOf } from '../enclave/runtime/device-file.ts'
import type { Ledger } from '../enclave/runtime/ledger.ts'
import { ReceiptArchive } from '../enclave/runtime/receipts/archive.ts'
import { openReceiptArchive, openSharedArchive } from '../enclave/runtime/receipts/open.ts'
import { openFileSealingKey, openGramineSealingKey, type SealingKey } from '../enclave/runtime/sealing-key.ts'
import { parsePostgresUrl } from '../store/postgres/address.ts'
import type { Files } from './files.ts'
import type { Report } from './logs/log.ts'
import type { Metrics } from './metrics.ts'
import { isSimulated, type Tee } from './platform.ts'
import { reasonOf } from './repeatedly.ts'

export interface ReceiptsConfig {
  readonly in_memory: boolean
  readonly file: string | null
  readonly days: number
  readonly megabytes: number
}

export interface StoreConfig {
  readonly url: string | null
  readonly ca: string | null
  readonly key: string | null
}

/** What a configuration says of what is kept, and where. */
export interface Kept {
  readonly receipts: ReceiptsConfig
  readonly store: StoreConfig
}

/**
 * Refuses, before anything starts, a file of receipts where there is no key to seal it with: Gramine has one, a confidential VM would need one from its key
 * broker, which is not there yet. Throws `sealing_key_unavailable`, `config_invalid`.
 */
export function checkReceipts(tee: Tee, { receipts: { in_memory: inMemory, file }, store }: Kept): void {
  if (inMemory && file !== null) throw fail('config_invalid', 'receipts.file: expected none with receipts.in_memory')
  if (store.url !== null && (inMemory || file !== null))
    throw fail('config_invalid', 'store.url: expected neither receipts.file nor receipts.in_memory beside it')
  if (store.url === null && (store.ca !== null || store.key !== null))
    throw fail('config_invalid', 'store.url: expected a server where there is a store.ca or store.key')
  if (store.key !== null && !isSimulated(tee))
    throw fail('config_invalid', 'store.key: expected none outside simulation: an enclave seals under the key of its measurement')
  if (store.url !== null) parsePostgresUrl(store.url)
  if (tee === 'tdx' && !inMemory)
    throw fail(
      'sealing_key_unavailable',
      'receipts: a confidential VM has no source of a sealing key yet, so no file of receipts can be kept; say --receipts-in-memory to serve them as long as the process lives',
    )
}

/** What readiness repeats of where receipts are kept. */
export function receiptNotices({ receipts }: Kept): string[] {
  return receipts.in_memory ? ['receipts in memory: they end with the process'] : []
}

/**
 * Opens what keeps the receipts of a service: a PostgreSQL server where the configuration names one; or `receipts.db` in its state directory; or none, where the
 * configuration says memory. Rows are sealed under the sealing key of the enclave, or in simulation under a key in a file, which is said.
 * Throws `receipt_store_invalid`, `receipt_store_unavailable`, `sealing_key_unavailable`, `file_unavailable`.
 */
export async function openReceipts(options: {
  readonly config: Kept
  readonly password: string | null
  readonly state: string
  readonly simulated: boolean
  readonly files: Files
  readonly report: Report
  /** Gives what seals a store that several share, from the enclave's own sealing key, which seals it where this is not given. */
  readonly shared?: (own: SealingKey) => Promise<SealingKey>
}): Promise<ReceiptArchive> {
  const { config, password, state, simulated, files, report, shared } = options
  const { receipts, store } = config
  const maxAgeSeconds = receipts.days * 86_400
  if (receipts.in_memory) {
    report('the receipts are in memory only: they end with this process', { event: 'store.opened' })
    return ReceiptArchive.inMemory({ maxAgeSeconds })
  }
  const bounds = { maxAgeSeconds, maxBytes: receipts.megabytes * 1_000_000 }
  const path = store.url === null ? (receipts.file ?? join(state, 'receipts.db')) : null
  const keyPath = path === null ? (store.key ?? join(state, 'store.key')) : `${path}.key`
  for (const file of path === null ? [keyPath] : [path, keyPath])
    await mkdir(dirname(file), { recursive: true, mode: 0o755 }).catch((cause: unknown) => {
      throw fail('file_unavailable', `cannot make ${dirname(file)} (${errnoOf(cause)})`, cause)
    })
  const own = simulated ? await openFileSealingKey(keyPath) : await openGramineSealingKey()
  const sealing = shared === undefined ? own : await shared(own)
  const archive =
    path !== null
      ? await openReceiptArchive({ path, sealing, bounds })
      : await openSharedArchive({
          server: { address: parsePostgresUrl(store.url ?? ''), password, ca: store.ca === null ? null : await files.readText(store.ca) },
          sealing,
          bounds,
        })
  const { answers, refusals } = archive.usage
  report(`${answers + refusals} receipts of earlier keysets in ${path ?? 'PostgreSQL'}`, { event: 'store.opened' })
  if (archive.source === 'file')
    report(`the receipts are NOT SEALED to anything: their key is in ${keyPath}`, { event: 'store.opened', level: 'warn' })
  return archive
}

/** Tells the operator why receipts cannot be kept, and when they can again: requesters are told only that they cannot. */
export function storeReports(report: Report): (failure: unknown) => void {
  return (failure) => {
    const why = reasonOf(failure)
    if (failure === null) report('receipts are kept again', { event: 'store.recovered' })
    else report(`receipts cannot be kept, and nothing is answered (${why})`, { event: 'store.failing', level: 'error' })
  }
}

/** Why the service should get no requests; see `Readiness`. */
export function storeReasons(ledger: () => Ledger): () => string[] {
  return () => (ledger().failing ? ['receipts cannot be kept'] : [])
}

const help: Readonly<Record<string, string>> = {
  veritee_store_answers: 'receipts of answers that are kept',
  veritee_store_refusals: 'receipts of refusals that are kept',
  veritee_store_documents: 'reports of keysets and sessions that are kept with receipts',
  veritee_store_bytes: 'size of what is kept',
  veritee_store_open_receipts: 'receipts whose request is under way',
  veritee_store_waiting_receipts: 'signed receipts that wait for their commit',
  veritee_store_failing: '1 while receipts cannot be committed, and so nothing is answered',
  veritee_store_signed_receipts_total: 'receipts signed under the present keyset',
  veritee_store_commits_total: 'commits',
  veritee_store_committed_receipts_total: 'receipts committed',
  veritee_store_commit_seconds_total: 'time that commits took',
  veritee_store_commit_failures_total: 'commits that failed',
  veritee_store_removed_receipts_total: 'receipts removed as old or too many',
  veritee_store_rejected_rows_total: 'rows that did not open: somebody else wrote them, or the disk did',
}

/** The figures of the store, under their own names. `read` is called when somebody asks. */
export function storeMetrics(metrics: Metrics, read: () => Readonly<Record<string, number>>): void {
  for (const [name, about] of Object.entries(help))
    metrics[name.endsWith('_total') ? 'total' : 'gauge'](name, about, () => [[{}, read()[name] ?? Number.NaN]])
}
