import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import { fromHex, fromUtf8, leafHash, toHex } from 'veritee/bytes'
import { chatBody, connect, included, memorySeen, nodeTransport, readBody } from 'veritee/client'
import { auditViewOf, logEntry, verifierKeyText, verifyInclusion } from 'veritee/log'
import { parsePolicy } from 'veritee/policy'
import { parseReceipt, parseReport, verifyReceipt } from 'veritee/receipt'
import { expect, it } from 'vitest'
import { startWorker } from '../process/start.ts'
import { origin, scratch } from './logs.ts'
import { clock, system } from './served-log.ts'

it('S21: a worker that is given a log promises it in the receipt of an answer, and whoever asked finds it there', async () => {
  const { url, publisher, get, trust } = await system()
  const state = await scratch()
  const worker = await startWorker([
    ...['--tee', 'simulate', '--state', state, '--port', '0', '--model', 'demo', '--metrics-port', '0'],
    ...['--log-url', url, '--log-origin', origin],
  ])
  const transport = nodeTransport(worker.ready.url)
  const send = async (method: 'GET' | 'POST', path: string, body?: Uint8Array) => {
    const response = await transport.send({ method, path, ...(body === undefined ? {} : { body }) })
    return { headers: response.headers, text: fromUtf8(await readBody(response, 1 << 22)) }
  }
  const answer = await send('POST', '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4, stream: false }))
  const header = (name: string): string => String(answer.headers[name])
  const receipt = parseReceipt((await send('GET', `/v1/aci/receipts/${header('x-receipt-id')}`)).text)
  const report = parseReport((await send('GET', '/v1/aci/attestation')).text)
  const metrics = nodeTransport(String(worker.ready.operations))
  const figures = fromUtf8(await readBody(await metrics.send({ method: 'GET', path: '/metrics' }), 1 << 22))
  expect(figures).toContain('veritee_log_outbox_statements')
  transport.close()
  metrics.close()
  await worker.close()
  await publisher.round()
  const verified = await verifyReceipt(receipt, report.keyset, receipt.keysetDigest, { requestHash: null, responseHash: null, clientNonce: null })
  const receiptKey = fromHex(header('x-veritee-receipt-key'))
  const leaf = toHex(await leafHash(await logEntry(await auditViewOf(verified, receiptKey))))
  const proof = await get(`proof/${leaf}`)
  expect(proof.status).toBe(200)
  const logged = await verifyInclusion(verified, receiptKey, { proof: fromUtf8(proof.bytes), consistency: [] }, trust, null)
  // Its head came after it.
  expect([logged.index, logged.checkpoint.size]).toEqual([0, 2])
})

it('S21: a client whose policy names the log finds each answer there, and has evidence where a promise was broken', async () => {
  clock.time = Date.now()
  const { url, publisher, trust, away } = await system()
  const state = await scratch()
  const worker = await startWorker([
    ...['--tee', 'simulate', '--state', state, '--port', '0', '--model', 'demo'],
    ...['--log-url', url, '--log-origin', origin, '--log-promise-seconds', '60'],
  ])
  const log = { origin, key: verifierKeyText(trust.key), witnesses: trust.witnesses.map(verifierKeyText), quorum: trust.quorum }
  const written = parsePolicy(await readFile(join(state, 'policy.json'), 'utf8'))
  const section = written.roles.worker
  if (section === undefined) throw new TypeError('a policy for workers')
  const c = await connect(worker.ready.url, {
    role: 'worker',
    policy: { ...written, roles: { worker: { ...section, log } } },
    trust: { roots: [intelSgxRootCa, ...parsePem(await readFile(join(state, 'root.pem'), 'utf8'))] },
  })
  const ask = async () => {
    const body = new Uint8Array(chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4, stream: false }))
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body })
    await response.text()
    return c.proofOf(response)
  }
  const options = { logs: { [origin]: url }, seen: memorySeen(), graceSeconds: 0 }
  const first = await ask()
  expect([first.status, first.checks.find(({ id }) => id === 'log')?.status]).toEqual(['verified', 'pass'])
  await expect
    .poll(async () => {
      await publisher.round()
      return (await included(first, options)).status
    })
    .toBe('included')

  // Nothing reaches the log any more, which goes on to be witnessed.
  away.log = true
  const second = await ask()
  await worker.close()
  away.log = false
  clock.time = Date.now()
  await publisher.round()
  expect((await included(second, options)).status).toBe('pending')
  clock.time = Date.now() + 120_000
  await publisher.round()
  expect(await included(second, options)).toMatchObject({
    status: 'rejected',
    receipts: [{ of: 'service', error: { code: 'log_promise_broken' }, evidence: { kind: 'broken-promise' } }],
  })
  c.close()
})
