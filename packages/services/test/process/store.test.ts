import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { chatBody } from 'veritee/client'
import { parseReceipt } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Running } from '../../src/process/run.ts'
import { leftOut, type PostgresServer, startPostgres } from '../store/postgres-server.ts'
import { startController, startWorker } from './start.ts'

const dispatcher = new Agent({ connect: { rejectUnauthorized: false } })
const running: Running[] = []
let directory = ''
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-process-store-'))
})
afterEach(async () => {
  for (const one of running.splice(0)) await one.close()
})
afterAll(async () => {
  await dispatcher.close()
  await rm(directory, { recursive: true, force: true })
})

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
async function get(url: string): Promise<{ status: number; body: string }> {
  const { statusCode, body } = await request(url, { dispatcher })
  return { status: statusCode, body: await body.text() }
}

describe('what is said of a store', () => {
  const url = 'postgres://v@127.0.0.1:1/r'
  test.each([
    ['a password in the URL', ['--store', 'postgres://v:do-not-repeat-me@h/r']],
    ['a file beside it', ['--store', url, '--receipts', 'x.db']],
    ['memory beside it', ['--store', url, '--receipts-in-memory']],
    ['a certificate without a server', ['--store-ca', 'x.pem']],
    ['a key without a server', ['--store-key', 'x.key']],
    ['another database', ['--store', 'mysql://v@h/r']],
    ['parameters', ['--store', 'postgres://v@h/r?sslmode=disable']],
  ])('%s is refused before anything starts, and no password is repeated', async (_, args) => {
    const told = await startWorker([...simulate('refused'), '--model', 'demo', ...args]).then(
      () => 'started',
      (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
    )
    expect(told).toMatch(/^config_invalid: /)
    expect(told).not.toContain('do-not-repeat-me')
  })

  test('S13: an enclave is given no key from outside', async () => {
    await expect(startController(['--tee', 'gramine', '--state', directory, '--store', url, '--store-key', 'x.key'])).rejects.toMatchObject({
      code: 'config_invalid',
    })
  })

  test('a server that is not there: the service does not start, and says why with a code', async () => {
    await expect(startWorker([...simulate('lonely'), '--model', 'demo', '--store', url])).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
  })
})

describe.skipIf(leftOut !== null)(`a worker with its receipts in PostgreSQL${leftOut === null ? '' : ` (left out: ${leftOut})`}`, () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
    await writeFile(join(directory, 'password'), `${server.password}\n`)
  }, 60_000)
  afterAll(() => server?.close())

  test('serves them after a restart; answers nothing while the server is gone, says so, and goes on when it is back', {
    timeout: 120_000,
  }, async () => {
    const { url } = await server.database()
    const lines: string[] = []
    const start = async (): Promise<Running> => {
      const args = [...simulate('w'), '--model', 'demo', '--store', url, '--store-password-file', join(directory, 'password')]
      const one = await startWorker(args, { report: (line) => lines.push(line) })
      running.push(one)
      return one
    }
    const body = Buffer.from(chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4 }))
    const ask = async (up: Running): Promise<{ status: number; receipt: string }> => {
      const answer = await request(`${up.ready.url}/v1/chat/completions`, { method: 'POST', dispatcher, body })
      await answer.body.dump().catch(() => undefined)
      return { status: answer.statusCode, receipt: `/v1/aci/receipts/${String(answer.headers['x-receipt-id'])}` }
    }
    const first = await start()
    const { receipt } = await ask(first)
    const before = await get(`${first.ready.url}${receipt}`)
    expect(before.status).toBe(200)
    await running.pop()?.close()

    const second = await start()
    expect(await get(`${second.ready.url}${receipt}`)).toEqual(before)
    const { keysetDigest } = parseReceipt(before.body)
    expect(keysetDigest).toBe(first.ready.keyset_digest)
    expect(JSON.parse((await get(`${second.ready.url}/v1/veritee/keysets/${keysetDigest}`)).body)).toMatchObject({
      workload_keyset_digest: keysetDigest,
    })

    await server.stop()
    // A plain answer under way fails with its commit; from then on none begins.
    const failed = await ask(second)
    expect([failed.status, (await ask(second)).status]).toEqual([503, 503])
    expect(JSON.parse((await get(`${second.ready.url}/readyz`)).body)).toMatchObject({ reasons: ['receipts_not_kept'] })
    await server.start()
    while ((await get(`${second.ready.url}/readyz`)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 50))
    expect((await ask(second)).status).toBe(200)
    expect(lines.join('\n')).toContain('receipts are kept again')
    expect(lines.join('\n')).not.toContain(server.password)
  })
})
