import { fail } from '../../errors.ts'
import { citedSession } from '../../receipt/cited-session.ts'
import { parseBundle, parseReport, type Report } from '../../receipt/index.ts'
import { one, required } from '../terminal/command.ts'
import { readBytes, readText } from '../terminal/files.ts'

/** What a replay takes of one exchange, wherever it was kept. */
export interface KeptExchange {
  readonly receipt: string
  readonly request: Uint8Array
  readonly response: Uint8Array
  /** Whose keyset the receipt must be signed by; null: nobody checks it. */
  readonly signer: Report | null
}

/** The options that name files. */
export interface KeptIn {
  readonly bundle?: string | undefined
  readonly report?: string | undefined
  readonly request?: string | undefined
  readonly response?: string | undefined
}

/** Streams hold some 300 bytes for each token. */
const maxBodyBytes = 64 << 20

/**
 * From files, or from an evidence bundle and files for what it does not hold. What it does hold cannot be given beside it: two could say two things.
 * Verifies nothing. Throws `usage`, `file_unavailable`, and every code of the readers of bundle, report and session.
 */
export async function readExchange(positionals: readonly string[], paths: KeptIn): Promise<KeptExchange> {
  const kept = paths.bundle === undefined ? nothing : await fromBundle(await readText(paths.bundle))
  const alone = (name: string, isKept: boolean, isGiven: boolean): void => {
    if (isKept && isGiven) throw fail('usage', `${name}: the bundle holds one already`)
  }
  alone('RECEIPT', kept.receipt !== null, positionals.length > 0)
  for (const name of ['report', 'request', 'response'] as const) alone(`--${name}`, kept[name] !== null, paths[name] !== undefined)
  const body = async (name: 'request' | 'response', why: string): Promise<Uint8Array> =>
    kept[name] ?? readBytes(required(paths[name], `--${name}`, why), maxBodyBytes)
  return {
    receipt: kept.receipt ?? (await readText(one(positionals, 'receipt FILE'))),
    request: await body('request', 'the prompt is made from it'),
    response: await body('response', 'it is what is compared'),
    signer: kept.report ?? (paths.report === undefined ? null : parseReport(await readText(paths.report))),
  }
}

interface Held {
  readonly receipt: string | null
  readonly report: Report | null
  readonly request: Uint8Array | null
  readonly response: Uint8Array | null
}

const nothing: Held = { receipt: null, report: null, request: null, response: null }

/** Of a controller's bundle the worker's receipt and the worker's report in the session: who ran the model is who can be replayed. */
async function fromBundle(text: string): Promise<Held> {
  const { report, exchange } = parseBundle(text)
  if (exchange === null) throw fail('usage', '--bundle: expected a bundle with an exchange, found evidence alone')
  const { receipt, session, workerReceipt, requestBody, responseBody } = exchange
  const bodies = { request: requestBody, response: responseBody }
  if (workerReceipt === null) return { ...bodies, receipt: JSON.stringify(receipt.document), report }
  const signer = session === null ? null : (await citedSession(receipt, session)).report
  return { ...bodies, receipt: JSON.stringify(workerReceipt.document), report: signer }
}
