// A worker in a process of its own: the simulator, the demo model, and a folder with its receipts and its sealing key. Started by `child.ts` with a channel
// to its parent; it ends when the channel does.
import { join } from 'node:path'
import { toBase64 } from 'veritee/bytes'
import { loadModel, simulateMachine } from '../../../packages/services/src/demo/system.ts'
import { createQuoter } from '../../../packages/services/src/enclave/runtime/quote.ts'
import { openReceiptArchive } from '../../../packages/services/src/enclave/runtime/receipts/open.ts'
import { openFileSealingKey } from '../../../packages/services/src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../../../packages/services/src/enclave/runtime/sim-device.ts'
import { createWorker } from '../../../packages/services/src/enclave/worker/worker.ts'
import { listen } from '../../../packages/services/src/http/listen.ts'
import { resolveModel } from '../../../packages/services/src/models/locate.ts'
import type { Figures, Ready, ToChild } from './child.ts'

const now = (): Date => new Date()
const [directory = '.'] = process.argv.slice(2)

const machine = await simulateMachine(now)
const model = await loadModel(await resolveModel('demo'))
const sealing = await openFileSealingKey(join(directory, 'sealing.key'))
const archive = await openReceiptArchive({ path: join(directory, 'receipts.db'), sealing, bounds: { maxAnswers: 10_000_000 } })
const worker = await createWorker({
  callers: 'anybody',
  quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.worker)),
  collateral: () => machine.platform.collateral,
  models: [model.served],
  configuration: {},
  now,
  archive,
})
const server = await listen({ host: '127.0.0.1', port: 0, tls: worker.identity.tls, simulated: true, apiKeys: false }, worker.handler)

async function figures(): Promise<Figures> {
  // What ends with a connection is freed over a few turns.
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    globalThis.gc?.()
  }
  const { heapUsed, rss, external } = process.memoryUsage()
  return { heapUsed, rss, external, handles: process.getActiveResourcesInfo().length, store: worker.ledger.figures }
}

process.on('message', (message: ToChild) => {
  if (message === 'figures') void figures().then((found) => process.send?.(found))
  else
    void (async () => {
      await server.close()
      await worker.close()
      await model.engine.dispose()
      process.disconnect()
    })()
})
process.on('disconnect', () => process.exit())
process.send?.({
  url: server.url,
  spki: worker.identity.keyset.tls_public_keys[0]?.spki_sha256 ?? '',
  keysetDigest: worker.identity.keysetDigest,
  root: toBase64(machine.platform.root),
} satisfies Ready)
