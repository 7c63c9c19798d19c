// Answers of a worker over HTTP and TLS, several at a time, with all that their requester keeps of them.
import { request } from 'node:https'
import { fromHex } from 'veritee/bytes'
import { parseReport } from 'veritee/receipt'
import { simulateMachine, startWorker } from '../../packages/services/src/demo/system.ts'
import type { ServedModel } from '../../packages/services/src/enclave/worker/served-model.ts'
import type { ExchangeRecord } from '../../packages/services/src/replay/index.ts'

const now = (): Date => new Date()
const machine = simulateMachine(now)

export async function collectAnswers(served: ServedModel, bodies: readonly Uint8Array[], parallel: number): Promise<ExchangeRecord[]> {
  return (await collect(served, bodies, parallel, '/v1/chat/completions')).records
}

/** Asks a worker of its own, on free ports, with `parallel` requests under way at any moment. In the order of the bodies; with the worker's report. */
export async function collect(
  served: ServedModel,
  bodies: readonly Uint8Array[],
  parallel: number,
  path: string,
): Promise<{ readonly records: ExchangeRecord[]; readonly report: string }> {
  const { server } = await startWorker(await machine, [served], 0, now)
  const records: ExchangeRecord[] = []
  let signer: ExchangeRecord['signer'] = null
  const waiting = [...bodies.entries()]
  const ask = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [i, body] = next
      const answer = await send(server.port, path, body)
      const receipt = await send(server.port, `/v1/aci/receipts/${answer.headers['x-receipt-id']}`, null)
      const key = String(answer.headers['x-veritee-receipt-key'])
      records[i] = { receipt: receipt.body.toString(), request: body, response: answer.body, receiptKey: fromHex(key, 32), signer }
    }
  }
  try {
    const report = (await send(server.port, '/v1/aci/attestation', null)).body.toString()
    signer = parseReport(report)
    await Promise.all(Array.from({ length: parallel }, ask))
    return { records, report }
  } finally {
    await server.close()
  }
}

interface Reply {
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: Buffer
}

function send(port: number, path: string, body: Uint8Array | null): Promise<Reply> {
  return new Promise((resolve, reject) => {
    // The worker is this process: there is nobody to be deceived about its key.
    const options = { host: '127.0.0.1', port, path, method: body === null ? 'GET' : 'POST', rejectUnauthorized: false }
    const sent = request(options, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.once('error', reject)
      response.once('end', () => {
        const reply = { headers: response.headers, body: Buffer.concat(parts) }
        if (response.statusCode === 200) resolve(reply)
        else reject(new Error(`the worker answered ${response.statusCode}: ${reply.body.toString()}`))
      })
    })
    sent.once('error', reject)
    sent.end(body ?? undefined)
  })
}
