import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Engine } from '../../src/enclave/worker/engine/index.ts'
import { createSurface, type Surface } from '../../src/enclave/worker/fastchat/surface.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { postFor } from './peers.ts'
import { loopback, type TestWorker, testWorker } from './worker.ts'

let made: TestWorker
let surface: Surface
let listening: Listening
const lengths: number[] = []

beforeAll(async () => {
  made = await testWorker()
  const { worker, served } = made
  const { vocabulary } = served.engine
  const engine: Engine = Object.create(served.engine, {
    facts: { value: served.engine.facts },
    vocabulary: {
      value: {
        ...vocabulary,
        encode: (text: string) => {
          lengths.push(text.length)
          return vocabulary.encode(text)
        },
      },
    },
  })
  const proofs = () => ({ ledger: worker.ledger, keysetDigest: worker.identity.keysetDigest })
  surface = createSurface({ proofs, models: [{ ...served, engine }] })
  listening = await listen(loopback, surface.handler)
})

afterAll(async () => {
  await listening?.close()
  await made?.dispose()
})

const count = async (prompt: string): Promise<unknown> =>
  (await postFor(`${listening.url}${surface.path}/count_token`, { model: 'veritee-demo:unverified', prompt })).count

test('S22: a text that cannot fit is counted in pieces and never tokenized as a whole: nothing else would run meanwhile', async () => {
  lengths.length = 0
  const { contextSize } = made.served.engine.facts
  expect(await count('\u0001'.repeat(60 * contextSize))).toBe(contextSize + 1)
  expect(lengths.length).toBeGreaterThan(0)
  expect(Math.max(...lengths)).toBeLessThan(4096)
})

test('one that may fit is counted exactly', async () => {
  expect(await count('one two three')).toBe(
    made.served.engine.vocabulary.encode('one two three').length + (made.served.engine.vocabulary.addsBos ? 1 : 0),
  )
})
