import type { Trust } from '../../attestation/index.ts'
import { parseJson, Shape } from '../../bytes/index.ts'
import { fetchText, type Transport } from '../../client/index.ts'
import { checkSessionBinding } from '../../receipt/cited-session.ts'
import { maxSessionBytes, parseSession, type Session, type VerifiedReport, verifyReport } from '../../receipt/index.ts'

type Headers = { readonly [name: string]: string }
const shape = new Shape('session_mismatch')
/** The evidence of ten thousand workers is left out of the list, the rest of it is not. */
const maxListBytes = 32 << 20

/** One line of a controller's list: an id, and what it says of the worker. All of it is the controller's word. */
export interface ListedSession {
  readonly id: string
  readonly upstreamName: string
}

/** The workers that a controller says serve now (aci/1 section 8.1). Verifies nothing. Throws `session_mismatch`, `service_refused`. */
export async function listSessions(transport: Transport, headers: Headers): Promise<ListedSession[]> {
  const text = await fetchText(transport, { method: 'GET', path: '/v1/aci/sessions', headers }, maxListBytes)
  const list = shape.record(parseJson(text, { maxLength: maxListBytes, maxDepth: 12 }), '/v1/aci/sessions')
  return shape.array(list.sessions, 'sessions', 65_536).map((item, i) => {
    const o = shape.record(item, `sessions[${i}]`)
    return {
      id: shape.hex(o.session_id, `sessions[${i}].session_id`, 32),
      upstreamName: shape.string(o.upstream_name, `sessions[${i}].upstream_name`, 256),
    }
  })
}

/** A session and the worker's report in it, verified: the record hashes to its id, and identity and channel are those of the quoted keyset. No proof of freshness. */
export async function sessionReport(
  transport: Transport,
  id: string,
  headers: Headers,
  trust: Trust,
  at: Date,
): Promise<{ readonly session: Session; readonly report: VerifiedReport }> {
  const session = await parseSession(await fetchText(transport, { method: 'GET', path: `/v1/aci/sessions/${id}`, headers }, maxSessionBytes), id)
  const report = await verifyReport(session.report, 'stated', trust, at)
  checkSessionBinding(session, report)
  return { session, report }
}

/** Names of `/v1/models`: the service's word. Throws `service_refused`. */
export async function modelNames(transport: Transport, headers: Headers): Promise<string[]> {
  const text = await fetchText(transport, { method: 'GET', path: '/v1/models', headers }, 1 << 20)
  const answer = new Shape('service_refused')
  const list = answer.record(parseJson(text, { maxLength: 1 << 20, maxDepth: 8 }), '/v1/models')
  return answer.array(list.data, '/v1/models data', 1024).map((item, i) => answer.string(answer.record(item, `data[${i}]`).id, `data[${i}].id`, 256))
}
