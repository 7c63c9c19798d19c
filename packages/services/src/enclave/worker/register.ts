import { parseJson, Shape, utf8 } from 'veritee/bytes'
import { nodeTransport, readBody } from 'veritee/client'
import { fail } from 'veritee/errors'

export interface Registration {
  readonly sessionId: string
}

const shape = new Shape('malformed_document')

/**
 * Asks a controller for admission at its control port. The controller comes back to `workerUrl` with a challenge of its own before it answers.
 * `ticket` comes from the worker's own `tickets`: it recognises the challenge by it.
 * Throws `service_refused` with the controller's reason, `service_unavailable`.
 */
export async function registerWorker(controlUrl: string, workerUrl: string, keysetDigest: string, ticket: string): Promise<Registration> {
  const transport = nodeTransport(controlUrl)
  try {
    const response = await transport.send({
      method: 'POST',
      path: '/v1/workers',
      headers: { 'content-type': 'application/json' },
      body: utf8(JSON.stringify({ url: workerUrl, keyset_digest: keysetDigest, ticket })),
    })
    const answer = parseJson(new TextDecoder().decode(await readBody(response, 65_536)), { maxLength: 65_536, maxDepth: 8 })
    if (response.status !== 201) throw fail('service_refused', `the controller did not admit this worker: ${JSON.stringify(answer).slice(0, 600)}`)
    return { sessionId: shape.hex(shape.record(answer, 'answer').session_id, 'session_id', 32) }
  } finally {
    transport.close()
  }
}
