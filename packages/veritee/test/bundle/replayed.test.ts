import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readExchange } from '../../src/bin/evidence/replay-record.ts'
import { createBundle, parseReceipt } from '../../src/receipt/index.ts'
import { type Kept, keepExchange, partsOf } from './service.ts'

let folder: string
let kept: Kept
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-replayed-'))
  kept = await keepExchange()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function write(name: string, data: string): string {
  const path = join(folder, name)
  writeFileSync(path, data)
  return path
}

test("of a controller's bundle the worker is replayed: its receipt, and the keyset of its report in the session that is cited", async () => {
  const bundle = write('controller.bundle', createBundle(partsOf(kept)))
  const { receipt, request, response, signer } = await readExchange([], { bundle })
  expect(parseReceipt(receipt).document).toEqual(JSON.parse(kept.workerReceipt))
  expect(signer?.keysetDigest).toBe(kept.worker.digest)
  expect(Buffer.from(request).toString()).toBe(Buffer.from(kept.request).toString())
  expect(Buffer.from(response).toString()).toBe(Buffer.from(kept.response).toString())
})

test('without the session there is no report of the worker: it is given beside the bundle, or nobody checks the signature', async () => {
  const { session: _, ...exchange } = partsOf(kept).exchange
  const bundle = write('no-session.bundle', createBundle({ ...partsOf(kept), exchange }))
  expect((await readExchange([], { bundle })).signer).toBeNull()
  const report = write('worker-report.json', kept.workerReport)
  expect((await readExchange([], { bundle, report })).signer?.keysetDigest).toBe(kept.worker.digest)
})

test('S10: a session other than the one that the receipt cites is refused', async () => {
  const { session } = await keepExchange({ session: { upstream_name: 'other' } })
  const bundle = write('other-session.bundle', createBundle({ ...partsOf(kept), exchange: { ...partsOf(kept).exchange, session } }))
  await expect(readExchange([], { bundle })).rejects.toMatchObject({ code: 'session_mismatch' })
})
