import { expect, test } from 'vitest'
import { runHttp2 } from '../../../../../bench/soak/http2/run.ts'

test('S22: random frames of strangers neither end the service nor stay with it, in a reduced form of the soak', { timeout: 120_000 }, async () => {
  const { findings, requests } = await runHttp2({ seconds: 10, connections: 8, seed: Date.now() & 0xff_ff_ff })
  expect(findings).toEqual([])
  expect(requests).toBeGreaterThan(0)
})
