import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex } from 'veritee/bytes'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { generateEd25519 } from 'veritee/crypto'
import { expect, it } from 'vitest'
import { admit, policyOf, simulateMachine, startController, startWorker } from '../../src/demo/system.ts'
import { loadSealedModel } from '../../src/enclave/worker/load-sealed.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { now } from './network.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000

it.skipIf(noTmpfs)(
  `S12: a client verifies an answer of a sealed model, and its receipt says so${noTmpfs ? ' (skipped: no tmpfs here)' : ''}`,
  async () => {
    const root = await mkdtemp(join(tmpdir(), 'veritee-sealed-e2e-'))
    const closing: (() => unknown)[] = [() => rm(root, { recursive: true, force: true })]
    try {
      const publisher = await generateEd25519()
      const modelKey = new Uint8Array(randomBytes(32))
      const path = join(root, 'sealed')
      await sealModel({
        files: [demoPath],
        out: path,
        form: 'file',
        name: 'veritee-demo',
        modelVersion: 1,
        keyId: 'models/veritee-demo/1',
        modelKey,
        publisher,
        chatTemplateDigest: null,
        licence: null,
        created: 1_790_000_000,
      })
      const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
      const served = await loadSealedModel({ path, trust, requestKey: () => Promise.resolve(modelKey.slice()) })
      closing.push(() => served.engine.dispose())
      const machine = await simulateMachine(now)
      const policy = policyOf(machine, [{ served, engine: served.engine, fileDigest: `sha256:${demoSha256}` }])
      const worker = await startWorker(machine, [served], 0, now)
      closing.push(() => worker.server.close())
      const controller = await startController(machine, policy, { api: 0, control: 0 }, now)
      closing.push(
        () => controller.controller.close(),
        () => controller.control.close(),
        () => controller.api.close(),
      )
      await admit(controller, worker)
      const transport = nodeTransport(controller.api.url)
      closing.push(() => transport.close())
      const service = await connect(transport, { policy, trust: machine.trust, role: 'controller', now })
      const { proof } = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 16 }))
      expect(proof.outcome).toBe('verified')
      expect(proof.model).toMatchObject({ sealed: true, provenance: 'hashed_while_loading', files: [{ sha256: `sha256:${demoSha256}` }] })
      expect(proof.worker?.report.descriptor.models).toMatchObject([{ name: 'veritee-demo', sealed: true }])
    } finally {
      for (const close of closing.reverse()) await close()
    }
  },
)
