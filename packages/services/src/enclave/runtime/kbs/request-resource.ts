import { generateKeyPairSync } from 'node:crypto'
import { type Collateral, collateralToJson } from 'veritee/attestation'
import { type Json, jcsDigest, Shape, toBase64, utf8 } from 'veritee/bytes'
import { nodeTransport } from 'veritee/client'
import { type ErrorCode, fail, isErrorCode, VeriteeError } from 'veritee/errors'
import type { ServiceDescriptor } from 'veritee/receipt'
import { readKeyId } from 'veritee/seal'
import type { Quoter } from '../quote.ts'
import { type Answer, exchangeJson } from './exchange.ts'
import { openJwe } from './jwe.ts'
import {
  boundDescriptor,
  extensionName,
  extensionVersion,
  isNonce,
  kbsPrefix,
  maxReleasesLength,
  protocolVersion,
  releasesExtension,
  releasesVersion,
  sessionCookie,
  teePubkeyOf,
} from './runtime-data.ts'

export interface ResourceRequest {
  /** Base URL of the broker, `https:` or `http:`. */
  readonly url: string
  /** `<repository>/<type>/<tag>`. */
  readonly resource: string
  readonly quoter: Quoter
  readonly tee: 'sgx' | 'tdx'
  /** What this enclave says of itself, and the broker may judge. It need not be that of a keyset: a worker has no models yet when it asks for their key. */
  readonly descriptor: ServiceDescriptor
  /** The vendor's signed data for this platform; sent to brokers that take it. */
  readonly collateral: () => Collateral
  /** Release statements of this enclave, as `servedReleasesText` of `veritee/release` writes them; hints to brokers that take them. A longer list than {@link maxReleasesLength} stays here. */
  readonly releases?: string
  /** Milliseconds for the whole exchange; 30 seconds where not given. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** SHA-256 (hex) of the broker's TLS key, where the caller has attested it. Else whatever key answers first is taken, and kept for this exchange. */
  readonly brokerSpki?: string
}

/** The broker said no. `reason` is the code that it gave, which is its word and nothing more; null where it gave none that is known here. */
export class KbsRefusedError extends VeriteeError {
  override readonly name = 'KbsRefusedError'
  readonly reason: ErrorCode | null

  constructor(step: string, { status, value }: Answer) {
    const { type, detail, code } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
    const reason = typeof code === 'string' && isErrorCode(code) ? (code as ErrorCode) : null
    const problem = typeof type === 'string' ? (type.split('/').at(-1) ?? '') : ''
    super('kbs_refused', `${step} answered ${status}: ${plain(reason ?? problem)}${typeof detail === 'string' ? ` (${plain(detail)})` : ''}`)
    this.reason = reason
  }
}

/** The other side's words, on one line and short. */
function plain(text: string): string {
  return text.slice(0, 300).replace(/[\p{C}\u2028\u2029]+/gu, ' ')
}

const shape = new Shape('kbs_answer_malformed')
/** How often a step is tried again that was answered with 429 or 503 and a time to wait. */
const mostAgain = 4
const longestPauseSeconds = 5

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  try {
    await within(signal, promise)
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Fetches a resource (a model key) by the RCAR protocol of Trustee's KBS, version 0.4.0: auth, attest, get. The key pair to which
 * the broker encrypts is made here, is quoted together with the broker's nonce, and is dropped at the end.
 *
 * A step that is answered with 429 or 503 and a time to wait is tried again, four times at most.
 *
 * What the quote proves to the broker, nothing here proves about the broker: it is not trusted for integrity (rule S13), and any certificate is taken
 * unless `brokerSpki` is given. The caller compares what it got with what its manifest says, and wipes it.
 *
 * Throws `KbsRefusedError` (`kbs_refused`) with the broker's reason, `service_unavailable` where nobody answers, `kbs_timeout`, the signal's reason,
 * `kbs_answer_malformed`, `kbs_jwe_invalid`, `response_too_large`, and what the quoter throws. `usage` for a wrong URL, `TypeError` for a wrong name.
 */
export async function requestResource(request: ResourceRequest): Promise<Uint8Array> {
  const { url, quoter, tee, timeoutMs = 30_000 } = request
  const resource = nameOf(request.resource)
  const deadline = AbortSignal.timeout(timeoutMs)
  const signal = request.signal === undefined ? deadline : AbortSignal.any([request.signal, deadline])
  const transport = nodeTransport(url, request.brokerSpki ?? null)
  const { privateKey: teeKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ask = async (step: string, path: string, body: Json | null, cookie: string | null): Promise<Answer> => {
    const bytes = body === null ? null : utf8(JSON.stringify(body))
    for (let again = 0; ; again++) {
      const answer = await exchangeJson(transport, step, { path: `${kbsPrefix}/${path}`, body: bytes, cookie, signal })
      if (answer.retryAfter === null || again === mostAgain) return answer
      // Spread, since a fleet that starts together would come again together.
      await pause(Math.min(answer.retryAfter, longestPauseSeconds) * 1000 + Math.random() * 250, signal)
    }
  }
  try {
    const { nonce, extended, takesReleases, cookie } = readChallenge(
      await ask('auth', 'auth', { version: protocolVersion, tee, 'extra-params': { 'supported-hash-algorithms': ['sha384'] } }, null),
    )
    const digest = extended ? await jcsDigest(request.descriptor as unknown as Json) : null
    const shown = request.releases === undefined || request.releases.length > maxReleasesLength ? null : (JSON.parse(request.releases) as Json)
    const quote = await within(signal, quoter.quote({ purpose: 'kbs.rcar.v0', nonce, teeKey, descriptorDigest: digest }))
    const extension = extended
      ? {
          [extensionName]: {
            collateral: collateralToJson(request.collateral()),
            descriptor: request.descriptor as unknown as Json,
            ...(takesReleases && shown !== null && { releases: shown }),
          },
        }
      : {}
    const attested = await ask(
      'attest',
      'attest',
      {
        'init-data': null,
        'runtime-data': { nonce, 'tee-pubkey': teePubkeyOf(teeKey) },
        'tee-evidence': {
          primary_evidence: { quote: toBase64(quote), ...(tee === 'tdx' ? { cc_eventlog: null } : {}), ...extension },
          additional_evidence: boundDescriptor(digest),
        },
      } as unknown as Json,
      cookie,
    )
    if (attested.status !== 200) throw new KbsRefusedError('attest', attested)
    // The session carries the attestation from here on; the token is for others, and its presence is all that is looked at.
    shape.string(shape.record(attested.value, 'answer to attest').token, 'token', 65_536)
    const released = await ask('resource', `resource/${resource}`, null, cookie)
    if (released.status !== 200) throw new KbsRefusedError('resource', released)
    return openJwe(released.value, teeKey)
  } catch (error) {
    request.signal?.throwIfAborted()
    if (deadline.aborted) throw fail('kbs_timeout', `${transport.origin}: expected the resource within ${timeoutMs} ms`, error)
    throw error
  } finally {
    transport.close()
  }
}

function nameOf(resource: string): string {
  try {
    return readKeyId(resource)
  } catch (cause) {
    throw new TypeError('requestResource: expected a resource <repository>/<type>/<tag>', { cause })
  }
}

/** A quote cannot be called off, but nobody need wait for it. */
async function within<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    signal.throwIfAborted()
    return await Promise.race([work, promise])
  } finally {
    work.catch(() => undefined)
    signal.removeEventListener('abort', stop)
  }
}

function readChallenge(answer: Answer): { nonce: string; extended: boolean; takesReleases: boolean; cookie: string } {
  if (answer.status !== 200) throw new KbsRefusedError('auth', answer)
  const o = shape.object(answer.value, 'challenge', ['nonce', 'extra-params'])
  if (!isNonce(o.nonce)) throw shape.refuse('challenge.nonce', '32 bytes in base64')
  const extra = o['extra-params']
  // Trustee's broker answers "" here. What it does not know it does not get.
  const parameters = extra === '' || extra === null ? {} : shape.record(extra, 'challenge.extra-params')
  const algorithm = parameters['selected-hash-algorithm'] ?? 'sha384'
  if (algorithm !== 'sha384') throw shape.refuse('challenge.extra-params.selected-hash-algorithm', '"sha384"')
  const cookie = new RegExp(`(?:^|, )${sessionCookie}=([\\x21\\x23-\\x2b\\x2d-\\x3a\\x3c-\\x5b\\x5d-\\x7e]{1,256})(?:;|,|$)`).exec(
    answer.setCookie,
  )?.[1]
  if (cookie === undefined) throw shape.refuse('challenge', `a cookie ${sessionCookie}`)
  return {
    nonce: o.nonce,
    extended: parameters[extensionName] === extensionVersion,
    takesReleases: parameters[releasesExtension] === releasesVersion,
    cookie: `${sessionCookie}=${cookie}`,
  }
}
