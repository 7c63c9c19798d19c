import { fail, VeriteeError } from '../../errors.ts'
import { contentText } from '../../receipt/index.ts'
import type { ProofListener } from '../connection/options.ts'
import type { Proof } from '../proof/proof.ts'
import { isLoopback } from '../web-transport.ts'
import { contentOf } from './content-of.ts'

/** To whom an application gives its requests and answers to be run again. */
export interface HandOverOptions {
  /** Of the validator, https (or http of this machine). Prompts and answers go there in clear, within TLS. */
  readonly url: string
  /** The validator's credential for contents, where it wants one. */
  readonly token?: string
  /** Told what became of each answer: null where the validator took it. */
  readonly onResult?: (proof: Proof, error: VeriteeError | null) => void
  /** Default: 30,000. */
  readonly timeoutMs?: number
  readonly fetcher?: typeof fetch
}

/** At a time; what comes while so many are on their way is not handed over. */
const maxPending = 8

/**
 * A listener for `onProof` that hands each verified answer over to a validator, with its request and the key of its receipt (rule S6), so that the worker can be held to what it really answered and not only to
 * what its audit view says. Off unless you put it in: **the validator reads your prompts and answers.** An answer is never waited for, changed or refused because of it. Requests that were refused, and answers that
 * did not verify, are not handed over.
 *
 * Throws `usage` for a URL that is not https (or http of this machine), or has credentials, a query or a fragment.
 */
export function handOver(options: HandOverOptions): ProofListener {
  const { onResult = () => undefined } = options
  const address = addressOf(options.url)
  let pending = 0
  return (proof, evidence) => {
    if (evidence.failure !== null || proof.status !== 'verified') return
    if (pending >= maxPending)
      return onResult(proof, fail('service_unavailable', `${address.origin}: ${maxPending} contents are on their way already`))
    pending++
    send(address, () => contentText(contentOf(evidence)), options)
      .then(
        () => onResult(proof, null),
        (error: unknown) => onResult(proof, error instanceof VeriteeError ? error : fail('service_unavailable', address.origin, error)),
      )
      // What the listener throws is not heard, as of every listener of proofs.
      .catch(() => undefined)
      .finally(() => void pending--)
  }
}

async function send(address: URL, text: () => string, { token, timeoutMs = 30_000, fetcher = fetch }: HandOverOptions): Promise<void> {
  const body = text()
  let response: Response
  try {
    response = await fetcher(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      body,
      redirect: 'manual',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      signal: AbortSignal.timeout(timeoutMs),
    })
    await response.body?.cancel()
  } catch (cause) {
    throw fail('service_unavailable', `${address.origin}: no answer`, cause)
  }
  if (response.status !== 202) throw fail('service_refused', `${address.origin}: status ${response.status}`)
}

function addressOf(url: string): URL {
  const root = URL.canParse(url) ? new URL(url) : null
  if (root === null || root.username !== '' || root.password !== '' || root.search !== '' || root.hash !== '')
    throw fail('usage', 'expected the URL of a validator, without credentials, query or fragment')
  if (root.protocol !== 'https:' && !(root.protocol === 'http:' && isLoopback(root.hostname))) throw fail('usage', 'expected an https address')
  if (!root.pathname.endsWith('/')) root.pathname += '/'
  return new URL('v1/veritee/content', root)
}
