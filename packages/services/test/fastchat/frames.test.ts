import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSurface } from '../../src/enclave/worker/fastchat/surface.ts'
import { listen } from '../../src/http/listen.ts'
import { post } from './peers.ts'
import { loopback, type TestWorker, testWorker } from './worker.ts'

let made: TestWorker
beforeAll(async () => {
  made = await testWorker()
})
afterAll(() => made?.dispose())

interface Frame {
  readonly text: string
  readonly finish_reason: string | null
  readonly logprobs: { readonly tokens: readonly string[] } | null
}

async function framesWith(mostStreamed: number): Promise<Frame[]> {
  const { worker, served } = made
  const proofs = () => ({ ledger: worker.ledger, keysetDigest: worker.identity.keysetDigest })
  const surface = createSurface({ proofs, models: [served], mostStreamed })
  const server = await listen(loopback, surface.handler)
  const asked = { model: 'veritee-demo:unverified', prompt: 'Once', echo: false, temperature: 0, max_new_tokens: 150, logprobs: 5 }
  const { body } = await post(`${server.url}${surface.path}/worker_generate_stream`, asked)
  await server.close()
  return body
    .toString('utf8')
    .split('\0')
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text) as Frame)
}

test('S22: frames that repeat all before them do not grow with the square of the answer, and the last one is whole', async () => {
  const all = await framesWith(64 << 20)
  const few = await framesWith(0)
  expect(few.length).toBeLessThan(all.length)
  expect(few.at(-1)).toMatchObject({ text: all.at(-1)?.text, finish_reason: all.at(-1)?.finish_reason, logprobs: all.at(-1)?.logprobs })
  for (const { text } of few) expect(all.at(-1)?.text.startsWith(text)).toBe(true)
})
