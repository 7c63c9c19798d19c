import { fail } from '../errors.ts'
import { type Receipt, upstreamOf } from './receipt.ts'
import type { VerifiedReport } from './report.ts'
import { parseSession, type Session } from './session.ts'

/**
 * The session that a controller's receipt cites: its text hashes to the id cited, and its period covers the time of serving.
 * The worker's evidence inside is not verified here. `read` is `parseSession`, or the same with a memory. Throws `session_mismatch`, also where the receipt cites none.
 */
export async function citedSession(receipt: Receipt, text: string, read: typeof parseSession = parseSession): Promise<Session> {
  const upstream = upstreamOf(receipt)
  if (upstream?.result !== 'verified') throw fail('session_mismatch', 'expected no session: the receipt cites none')
  const session = await read(text, upstream.session_id)
  const { established_at: from, expires_at: to } = session.document
  if (receipt.servedAt < from || receipt.servedAt >= to)
    throw fail('session_mismatch', `expected served_at ${receipt.servedAt} within the session's period ${from}..${to}`)
  return session
}

/** Identity and channel of a session are those of the worker's verified keyset: beside the evidence they are the controller's word. Throws `session_mismatch`. */
export function checkSessionBinding({ document }: Session, report: VerifiedReport): void {
  const stated = document.identity.workload_keyset_digest
  if (stated !== report.keysetDigest) throw fail('session_mismatch', `expected the session's identity to be ${report.keysetDigest}, found ${stated}`)
  const attested = report.keyset.tls_public_keys.map((key) => key.spki_sha256)
  const bindings = document.channel_binding
  if (bindings.length === 0 || !bindings.every((binding) => attested.includes(binding.spki_sha256)))
    throw fail('session_mismatch', "expected the session's channel to be bound to a TLS key of the worker's keyset")
}
