import { request } from 'undici'
import { toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail } from 'veritee/errors'

const deadlineMs = 30_000

/**
 * Posts a document as JSON, signed: `X-Veritee-Signature` is Ed25519 over `veritee.webhook.v1`, LF, and the body, hex; `X-Veritee-Validator` the key, which the
 * receiver knows from elsewhere. Nothing is followed and nothing repeated. Throws `usage` for an address without TLS that is not this machine,
 * `service_unavailable`, `service_refused`.
 */
export async function postWebhook(address: string, body: string, key: SigningKey): Promise<void> {
  const url = URL.canParse(address) ? new URL(address) : null
  const local = url?.hostname === '127.0.0.1' || url?.hostname === 'localhost'
  if (url === null || url.username !== '' || !(url.protocol === 'https:' || (url.protocol === 'http:' && local)))
    throw fail('usage', 'the webhook: expected an https address without credentials')
  const signature = toHex(await key.sign(new TextEncoder().encode(`veritee.webhook.v1\n${body}`)))
  const headers = { 'content-type': 'application/json', 'x-veritee-validator': toHex(key.publicKey), 'x-veritee-signature': signature }
  let status: number
  try {
    const response = await request(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(deadlineMs) })
    status = response.statusCode
    await response.body.dump()
  } catch (cause) {
    throw fail('service_unavailable', `${url.origin} did not take the weights`, cause)
  }
  if (status < 200 || status > 299) throw fail('service_refused', `${url.origin} answered ${status}`)
}
