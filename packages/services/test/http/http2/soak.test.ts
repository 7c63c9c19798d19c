import { expect, test } from 'vitest'
import { runHttp2, runHttp2OfWorker } from '../../../../../bench/soak/http2/run.ts'

test.each([
  ['strangers', 'service', runHttp2],
  ['a worker', 'controller', runHttp2OfWorker],
])('S22: random frames of %s neither end the %s nor stay with it, in a reduced form of the soak', { timeout: 120_000 }, async (_, __, run) => {
  const { findings, requests } = await run({ seconds: 5, connections: 8, seed: Date.now() & 0xff_ff_ff })
  expect(findings).toEqual([])
  expect(requests).toBeGreaterThan(0)
})
