import type { ServerResponse } from 'node:http'
import { fromHex } from 'veritee/bytes'

/** Where clients of EHBP alone look for the key. Ours never do: nothing vouches for it. */
export const keyConfigPath = '/.well-known/hpke-keys'

const keyId = 0
const kemX25519 = [0x00, 0x20] as const
/** Length of the list of suites, then HKDF-SHA256 and AES-256-GCM. */
const suites = [0x00, 0x04, 0x00, 0x01, 0x00, 0x02] as const

/** The key configuration (RFC 9458 section 3.1), as EHBP's clients read it: one, without a length in front. */
export function sendKeyConfig(response: ServerResponse, publicKey: string): void {
  const body = Buffer.from([keyId, ...kemX25519, ...fromHex(publicKey, 32), ...suites])
  response.writeHead(200, { 'content-type': 'application/ohttp-keys', 'content-length': body.length, 'cache-control': 'no-store' }).end(body)
}
