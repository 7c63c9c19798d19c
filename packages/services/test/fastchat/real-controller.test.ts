import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { post, postFor } from './peers.ts'
import { freePort, get, leftOut, missing, startFastchat, versions } from './real/processes.ts'
import { type RunningController, unattestedController } from './unattested-controller.ts'

/** FastChat's own worker and API server, the first version that must work and the last one, around our controller. */

const model = 'vicuna-7b-scripted:unverified'
const said = 'A worker that nobody attested said this.'
const messages = [{ role: 'user', content: 'Who are you?' }]

describe.each(versions)('FastChat', (version) => {
  describe.skipIf(missing)(`${version} around our controller${leftOut}`, () => {
    let folder: string
    let controller: RunningController
    let worker: ChildProcess
    let workerPort: number
    let api: string
    const processes: ChildProcess[] = []
    const startWorker = (): ChildProcess => {
      const args = ['--port', String(workerPort), '--controller-address', controller.url, '--model', 'vicuna-7b-scripted']
      const started = startFastchat(version, folder, { script: 'scripted_worker.py' }, args)
      processes.push(started)
      return started
    }
    const models = async (): Promise<string[]> => {
      const { text } = (await get(`${api}/v1/models`)) ?? { text: '{"data":[]}' }
      return (JSON.parse(text) as { data: { id: string }[] }).data.map(({ id }) => id)
    }

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'veritee-fastchat-'))
      controller = await unattestedController(['--fastchat-model', 'vicuna-7b-scripted'])
      workerPort = await freePort()
      worker = startWorker()
      const port = await freePort()
      api = `http://127.0.0.1:${port}`
      processes.push(
        startFastchat(version, folder, { module: 'openai_api_server' }, [
          '--host',
          '127.0.0.1',
          '--port',
          String(port),
          '--controller-address',
          controller.url,
        ]),
      )
      await vi.waitUntil(async () => (await get(`${api}/v1/models`))?.status === 200, { timeout: 60_000, interval: 200 })
      await vi.waitUntil(async () => (await models()).includes(model), { timeout: 60_000, interval: 200 })
    }, 130_000)
    afterAll(async () => {
      for (const child of processes) child.kill('SIGKILL')
      await controller?.close()
      await rm(folder, { recursive: true, force: true })
    })

    test('S22: the worker`s model is served under the name that says that it is unverified, and under no other', async () => {
      expect(await models()).toEqual([model])
      const plain = await post(`${api}/v1/chat/completions`, { model: 'vicuna-7b-scripted', messages })
      expect([plain.status, JSON.parse(plain.body.toString()).code]).toEqual([400, 40_301])
    })

    test('answers, plain and streamed, and completes a prompt', async () => {
      expect(await postFor(`${api}/v1/chat/completions`, { model, messages })).toMatchObject({
        choices: [{ message: { role: 'assistant', content: said }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 7, completion_tokens: 7 },
      })
      expect(await postFor(`${api}/v1/completions`, { model, prompt: 'Who', max_tokens: 9 })).toMatchObject({ choices: [{ text: said }] })
      const { body } = await post(`${api}/v1/chat/completions`, { model, messages, stream: true })
      const lines = body.toString('utf8').split('\n\n')
      const deltas = lines
        .filter((line) => line.startsWith('data: {'))
        .map((line) => (JSON.parse(line.slice(6)) as { choices: { delta: { content?: string | null } }[] }).choices[0]?.delta.content ?? '')
      expect(deltas.join('')).toBe(said)
      expect(deltas.filter((delta) => delta !== '').length).toBeGreaterThan(3)
      expect(lines.filter((line) => line !== '').at(-1)).toBe('data: [DONE]')
    })

    test('passes frames on as the worker writes them, also to who asks the controller itself', async () => {
      const { body } = await post(`${controller.url}/worker_generate_stream`, { model, prompt: 'Who' })
      const frames = body.toString('utf8').split('\0')
      expect(frames).toHaveLength(8)
      expect(JSON.parse(frames[6] ?? '')).toMatchObject({ text: said, finish_reason: 'stop' })
    })

    test('a worker that is killed amid a stream ends that stream; it is forgotten, and found again when it comes back', async () => {
      const stream = post(`${controller.url}/worker_generate_stream`, { model, prompt: 'slowly' })
      await new Promise((resolve) => setTimeout(resolve, 300))
      worker.kill('SIGKILL')
      await expect(stream).rejects.toThrow()
      expect(await models()).toEqual([])
      const { body } = await post(`${controller.url}/worker_generate_stream`, { model, prompt: 'Who' })
      expect(JSON.parse(body.toString('utf8').replace(/\0$/, ''))).toMatchObject({ error_code: 50_005 })
      worker = startWorker()
      const again = async (): Promise<boolean> => (await post(`${api}/v1/chat/completions`, { model, messages })).body.includes(said)
      await vi.waitUntil(again, { timeout: 60_000, interval: 200 })
    }, 90_000)
  })
})
