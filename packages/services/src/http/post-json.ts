import http from 'node:http'
import https from 'node:https'
import { fromUtf8, parseJson } from 'veritee/bytes'
import { fail } from 'veritee/errors'

export type PostJson = (url: string, body: unknown) => Promise<unknown>

const timeoutMs = 5_000
const maxBytes = 1 << 20

/**
 * POSTs JSON and reads a JSON answer of at most 1 MiB within 5 s. One connection per call, no redirects; `fetch` is not used because it does not run
 * in every enclave. Not the library's transport either: that one leaves certificate authorities out, and here they are the only proof of a peer there
 * is. Throws `service_unavailable`, `service_refused` (status other than 200), `response_too_large`, `malformed_json`.
 */
export async function postJson(url: string, body: unknown): Promise<unknown> {
  const bytes = Buffer.from(JSON.stringify(body))
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const failed = (cause: unknown): void => reject(fail('service_unavailable', `${new URL(url).origin} did not answer`, cause))
  const request = (url.startsWith('https:') ? https : http).request(
    url,
    { method: 'POST', agent: false, headers: { 'content-type': 'application/json', 'content-length': bytes.length } },
    (response) => {
      const parts: Buffer[] = []
      let length = 0
      response.on('data', (part: Buffer) => {
        length += part.length
        parts.push(part)
        if (length <= maxBytes) return
        reject(fail('response_too_large', `expected an answer of at most ${maxBytes} bytes`))
        request.destroy()
      })
      response.once('error', failed)
      response.once('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(parts))
        else reject(fail('service_refused', `${new URL(url).origin} answered with status ${response.statusCode}`))
      })
    },
  )
  const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  request.once('error', failed)
  request.once('close', () => failed(null))
  request.end(bytes)
  try {
    return parseJson(fromUtf8(await promise), { maxLength: maxBytes, maxDepth: 16 })
  } finally {
    clearTimeout(timer)
  }
}
