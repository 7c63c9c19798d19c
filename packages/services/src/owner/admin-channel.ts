import type { Trust } from 'veritee/attestation'
import { fromUtf8, type Json, parseJson, Shape, utf8 } from 'veritee/bytes'
import { checkStillVerified, connect, nodeTransport, readBody, type Service } from 'veritee/client'
import { type ErrorCode, fail, isErrorCode, VeriteeError } from 'veritee/errors'
import type { Policy, Role } from 'veritee/policy'
import { HeldReleases, type ReleaseMemory } from 'veritee/release'

export interface AdminChannelOptions {
  /** Base URL of the admin interface; `https:` only. */
  readonly url: string
  readonly role: Role
  /** What is accepted behind it: the section of its role is judged. */
  readonly policy: Policy
  readonly trust: Trust
  /** The credential of the admin interface. */
  readonly token: string
  readonly now: () => Date
  /** Remembers the newest release statement seen; for this connection only where not given. */
  readonly releases?: ReleaseMemory
}

/** The admin interface of a service that was verified. The credential and all that is sent go to its attested TLS key only. */
export interface AdminChannel {
  readonly service: Service
  /** Asks at `/admin/v1/<path>`. Throws the service's own code, `service_refused`, `service_unavailable`, `channel_mismatch`, `keyset_changed`, `policy_attestation_age`. */
  tell(method: 'GET' | 'POST', path: string, body: Json | null): Promise<Record<string, unknown>>
  close(): void
}

const maxAnswerBytes = 16 << 20
const answerMs = 60_000
const shape = new Shape('service_refused')

/**
 * Verifies a service before its credential is sent (rule S13): a fresh nonce, its report under the policy's section for its role, and the TLS key of this
 * very connection in its keyset. Throws `usage` for a URL that is not `https:` (whatever the policy says of channels), and every code of `connect`.
 */
export async function openAdminChannel({ url, role, policy, trust, token, now, releases: memory }: AdminChannelOptions): Promise<AdminChannel> {
  const transport = nodeTransport(url)
  if (!transport.origin.startsWith('https:')) throw fail('usage', `expected an https URL of the admin interface, found ${transport.origin}`)
  let service: Service
  try {
    const releases = new HeldReleases({ now, memory: memory ?? null })
    service = await connect(transport, { policy, trust, role, now, releases })
  } catch (error) {
    transport.close()
    throw error
  }
  return {
    service,
    tell: async (method, path, body) => {
      checkStillVerified(service, null)
      const response = await transport.send({
        method,
        path: `/admin/v1/${path}`,
        headers: { authorization: `Bearer ${token}`, ...(body === null ? {} : { 'content-type': 'application/json' }) },
        ...(body === null ? {} : { body: utf8(JSON.stringify(body)) }),
        signal: AbortSignal.timeout(answerMs),
      })
      checkStillVerified(service, response.headers['x-aci-keyset-digest'] ?? null)
      const answer = parsed(await readBody(response, maxAnswerBytes))
      if (response.status !== 200 && response.status !== 201) throw refusal(role, path, response.status, answer)
      return shape.record(answer, path)
    },
    close: () => transport.close(),
  }
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return parseJson(fromUtf8(bytes), { maxLength: maxAnswerBytes, maxDepth: 8 })
  } catch {
    return null
  }
}

/** The service's own code where it is one of the table; its words on one line and short. */
function refusal(role: Role, path: string, status: number, answer: unknown): VeriteeError {
  const { error } = (typeof answer === 'object' && answer !== null ? answer : {}) as { error?: { code?: unknown; message?: unknown } }
  const { code, message } = typeof error === 'object' && error !== null ? error : {}
  const words = typeof message === 'string' ? message.slice(0, 300).replace(/[\p{C}\u2028\u2029]+/gu, ' ') : 'no reason given'
  const known = typeof code === 'string' && isErrorCode(code) ? (code as ErrorCode) : 'service_refused'
  return new VeriteeError(known, `the ${role} answered ${status} to ${path}: ${words}`)
}
