import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SimEnclave } from 'veritee/attestation/sim'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { loadSealedModel } from '../../src/enclave/worker/load-sealed.ts'
import { type KeySource, modelKeyFrom } from '../../src/enclave/worker/model-key.ts'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { enclaves, policyText, type RunningBroker, startBroker } from '../broker/system.ts'
import { demoPath } from '../engine/demo.ts'

/** Loading, end to end: a worker, its broker, and the sealed model. After each failure nothing is served and nothing is left in memory. */

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000
const why = noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''

const publisher = await generateEd25519()
const modelKey = new Uint8Array(randomBytes(32))
const keyId = 'models/veritee-demo/1'
let root: string
// Of these tests alone: what others have in memory at this moment is not looked at.
let memory: string
let directory: string
let running: RunningBroker
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-loading-broker-'))
  if (!noTmpfs) memory = await mkdtemp('/dev/shm/test-broker-')
  directory = join(root, 'sealed')
  await sealModel({
    files: [demoPath],
    out: directory,
    name: 'veritee-demo',
    modelVersion: 1,
    keyId,
    modelKey,
    publisher,
    chatTemplateDigest: null,
    licence: null,
    created: 1_790_000_000,
  })
  running = await startBroker()
  await running.put(keyId, { value: modelKey })
})
afterAll(async () => {
  await running.close()
  await rm(root, { recursive: true, force: true })
  if (!noTmpfs) await rm(memory, { recursive: true })
})

const inMemory = (): Promise<string[]> => readdir(memory)

function load(changes: Partial<KeySource> & { readonly of?: SimEnclave; readonly from?: RunningBroker } = {}): Promise<ServedModel> {
  const { of = enclaves.worker, from = running, ...source } = changes
  const requestKey = modelKeyFrom({
    url: from.kbs.url,
    quoter: createQuoter(createSimDevice(from.platform, of)),
    tee: 'sgx',
    collateral: () => from.platform.collateral,
    configuration: { test: true },
    ...source,
  })
  return loadSealedModel({
    memoryDirectory: memory,
    path: directory,
    trust: { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 },
    requestKey,
  })
}

/** The code of a failure, and for a refusal the broker's reason; `served` where there was none. */
async function outcomeOf(loading: Promise<ServedModel>): Promise<string> {
  try {
    await (await loading).engine.dispose()
    return 'served'
  } catch (error) {
    const { code, reason } = error as { code?: string; reason?: string | null }
    return typeof reason === 'string' ? `${code}: ${reason}` : (code ?? String(error))
  } finally {
    expect(await inMemory()).toEqual([])
  }
}

describe.skipIf(noTmpfs)(`loading with the key of a broker${why}`, () => {
  it('S13: the worker that the policy lists serves the model, and its key came from the broker', async () => {
    expect(await outcomeOf(load())).toBe('served')
    expect(running.store.state.audit.at(-1)).toMatchObject({ event: 'release', resource: keyId, measurement: enclaves.worker.mrenclave })
  })

  it.each<[string, () => Promise<ServedModel>, string]>([
    ['another program', () => load({ of: enclaves.other }), 'kbs_refused: policy_identity'],
    ['a debug enclave of the same program', () => load({ of: { ...enclaves.worker, debug: true } }), 'kbs_refused: policy_debug'],
    ['a broker that is down', () => load({ url: 'https://127.0.0.1:1' }), 'service_unavailable'],
    ['a broker that does not answer in time', () => load({ timeoutMs: 1 }), 'kbs_timeout'],
    ['a service that is no broker', () => load({ url: running.admin.url }), 'kbs_refused'],
  ])('S12: %s: coded, nothing served', async (_title, loading, code) => {
    expect(await outcomeOf(loading())).toBe(code)
  })

  it('S15: simulated evidence at a production policy: coded, nothing served', async () => {
    const production = await startBroker()
    await production.put(keyId, { value: modelKey, policy: policyText({ simulated: 'refuse' }) })
    expect(await outcomeOf(load({ from: production }))).toBe('kbs_refused: policy_simulated')
    await production.close()
  })

  it('S12: another key, and a value that is no key: coded, nothing served', async () => {
    const wrong = await startBroker()
    await wrong.put(keyId, { value: new Uint8Array(32).fill(1) })
    expect(await outcomeOf(load({ from: wrong }))).toBe('sealed_key_wrong')
    await wrong.tell('POST', 'rotate', { resource: keyId, value: Buffer.alloc(31).toString('base64') })
    expect(await outcomeOf(load({ from: wrong }))).toBe('sealed_key_wrong')
    await wrong.close()
  })

  it('S11: revoked between two loads: the first serves, the second does not', async () => {
    const own = await startBroker()
    await own.put(keyId, { value: modelKey })
    expect(await outcomeOf(load({ from: own }))).toBe('served')
    await own.tell('POST', 'revoke', { resource: keyId })
    expect(await outcomeOf(load({ from: own }))).toBe('kbs_refused: kbs_resource_revoked')
    await own.close()
  })

  it('S12: a name that the broker does not have: coded, nothing served', async () => {
    const empty = await startBroker()
    expect(await outcomeOf(load({ from: empty }))).toBe('kbs_refused: kbs_resource_unknown')
    await empty.close()
  })

  it('S12: a caller who gives up while the key is asked for: his reason, nothing served', async () => {
    const given = new AbortController()
    const loading = load({ signal: given.signal })
    given.abort(new Error('given up'))
    await expect(loading).rejects.toThrow('given up')
    expect(await inMemory()).toEqual([])
  })
})
