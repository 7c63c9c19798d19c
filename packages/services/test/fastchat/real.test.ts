import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { RunningFastchat } from '../../src/enclave/worker/fastchat/index.ts'
import { post, postFor } from './peers.ts'
import { freePort, get, leftOut, missing, startFastchat, versions } from './real/processes.ts'
import { fastchat, type TestWorker, testWorker } from './worker.ts'

/** FastChat itself, the first version that must work and the last one: its controller and API server against our worker. */

const model = 'veritee-demo:unverified'
const messages = [{ role: 'user', content: 'Tell me a story about a dragon named Ruby.' }]
const answer =
  'Once upon a time, a shy dragon named Ruby lived in the school. One day, Ruby found a brown basket. Ruby asked Lena the hen for help. ' +
  'Ruby and Lena took the basket home. Ruby and Lena became good friends.'
describe.each(versions)('FastChat', (version) => {
  describe.skipIf(missing)(`${version}${leftOut}`, () => {
    let folder: string
    let worker: TestWorker
    let running: RunningFastchat
    let controller: string
    let api: string
    const processes: ChildProcess[] = []

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'veritee-fastchat-'))
      controller = `http://127.0.0.1:${await freePort()}`
      api = `http://127.0.0.1:${await freePort()}`
      const run = (module: string, url: string, ...args: string[]): void => {
        processes.push(startFastchat(version, folder, { module }, ['--host', '127.0.0.1', '--port', new URL(url).port, ...args]))
      }
      run('controller', controller)
      run('openai_api_server', api, '--controller-address', controller)
      worker = await testWorker()
      await vi.waitUntil(async () => (await get(`${api}/v1/models`))?.status === 200, { timeout: 60_000, interval: 200 })
      running = await fastchat(worker, controller)
      await vi.waitUntil(listed, { timeout: 20_000, interval: 100 })
    }, 90_000)
    afterAll(async () => {
      for (const child of processes) child.kill('SIGKILL')
      await running?.close()
      await worker?.dispose()
      await rm(folder, { recursive: true, force: true })
    })

    async function models(): Promise<string[]> {
      const answered = await get(`${api}/v1/models`)
      return (JSON.parse(answered?.text ?? '{"data":[]}') as { data: { id: string }[] }).data.map(({ id }) => id)
    }
    const listed = async (): Promise<boolean> => (await models()).includes(model)

    const stream = async (body: object): Promise<{ text: string; finish: (string | null)[]; ended: boolean }> => {
      const { body: raw } = await post(`${api}/v1/chat/completions`, { model, temperature: 0, stream: true, ...body })
      const lines = raw
        .toString('utf8')
        .split('\n\n')
        .filter((line) => line !== '')
      const chunks = lines
        .filter((line) => line.startsWith('data: {'))
        .map((line) => JSON.parse(line.slice(6)) as { choices: { delta: { content?: string | null }; finish_reason: string | null }[] })
      return {
        text: chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''),
        finish: chunks.map(({ choices }) => choices[0]?.finish_reason ?? null).filter((reason) => reason !== null),
        ended: lines.at(-1) === 'data: [DONE]',
      }
    }

    test('S22: lists the worker`s model, under the name that says that it is unverified', async () => {
      expect(await models()).toEqual([model])
      expect(await postFor(`${controller}/get_worker_address`, { model })).toEqual({ address: running.workerName })
      expect(await postFor(`${controller}/worker_get_status`, null)).toMatchObject({ model_names: [model], speed: 1 })
    })

    test('streams an answer, whole', async () => {
      expect(await stream({ messages })).toEqual({ text: answer, finish: ['stop'], ended: true })
    })

    test('gives a plain answer, with the counts of the worker', async () => {
      expect(await postFor(`${api}/v1/chat/completions`, { model, temperature: 0, messages })).toMatchObject({
        choices: [{ message: { role: 'assistant', content: answer }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 21, completion_tokens: 52, total_tokens: 73 },
      })
    })

    test('cuts an answer where it is told to', async () => {
      expect(await stream({ messages, max_tokens: 5 })).toMatchObject({ finish: ['length'], ended: true })
      expect((await stream({ messages, stop: ' dragon' })).text).toBe('Once upon a time, a shy')
    })

    test('continues a plain prompt, and counts its tokens', async () => {
      const completed = await postFor(`${api}/v1/completions`, { model, temperature: 0, max_tokens: 8, prompt: 'Once upon a time' })
      expect(completed).toMatchObject({ choices: [{ text: expect.stringMatching(/\S/) }], usage: { completion_tokens: 8 } })
      const checked = await postFor(`${api}/api/v1/token_check`, { prompts: [{ model, prompt: 'Once upon a time', max_tokens: 8 }] })
      expect(checked).toEqual({ prompts: [{ fits: true, tokenCount: expect.any(Number), contextLength: 1024 }] })
    })

    test('passes the last frame on with the id of the receipt, where its API server drops it', async () => {
      const prompt = 'Once upon a time'
      const { body } = await post(`${controller}/worker_generate_stream`, { model, prompt, temperature: 0, max_new_tokens: 4, echo: false })
      const frames = body
        .toString('utf8')
        .split('\0')
        .filter((frame) => frame !== '')
      const last = JSON.parse(frames.at(-1) ?? '') as { veritee: { receipt_id: string; verified: boolean; keyset_digest: string } }
      expect(last.veritee).toMatchObject({ verified: false, keyset_digest: worker.worker.identity.keysetDigest })
      const found = await worker.worker.ledger.find(last.veritee.receipt_id, null)
      if (found.kind !== 'found') throw new Error('no receipt')
      expect(eventOf(parseReceipt(found.text), 'veritee.inference')).toMatchObject({ completion_tokens: 4, outcome: 'length' })
    })

    test('keeps the worker while it answers: its status does not wait for the model', async () => {
      const answering = [1, 2, 3, 4, 5].map((seed) => stream({ messages, temperature: 0.8, seed, max_tokens: 200 }))
      for (let i = 0; i < 5; i++) expect(await listed()).toBe(true)
      for (const { ended } of await Promise.all(answering)) expect(ended).toBe(true)
    })

    test('tells a client of what the worker does not serve or take', async () => {
      const unknown = await post(`${api}/v1/chat/completions`, { model: 'other', messages })
      expect([unknown.status, JSON.parse(unknown.body.toString()).code]).toEqual([400, 40_301])
      const long = await post(`${api}/v1/chat/completions`, { model, messages: [{ role: 'user', content: 'word '.repeat(1500) }] })
      expect([long.status, JSON.parse(long.body.toString()).code]).toEqual([400, 40_303])
    })

    test('forgets a worker that is gone, and finds it again under its new name', async () => {
      const name = running.workerName
      await running.close()
      expect(await models()).toEqual([])
      running = await fastchat(worker, controller)
      await vi.waitUntil(listed, { timeout: 20_000, interval: 100 })
      expect(running.workerName).not.toBe(name)
      expect((await stream({ messages })).text).toBe(answer)
    })
  })
})
