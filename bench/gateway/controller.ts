// Ours, with everything on: the controller as it is, with one admitted worker, receipts in a file.
import { join } from 'node:path'
import { Pool } from 'undici'
import { createSimPlatform } from 'veritee/attestation/sim'
import { createController } from '../../packages/services/src/controller/controller.ts'
import { simulatedEnclave } from '../../packages/services/src/demo/measure.ts'
import { policyRules } from '../../packages/services/src/enclave/runtime/admission/rules.ts'
import { createQuoter } from '../../packages/services/src/enclave/runtime/quote.ts'
import { openReceiptArchive } from '../../packages/services/src/enclave/runtime/receipts/open.ts'
import { openFileSealingKey } from '../../packages/services/src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../../packages/services/src/enclave/runtime/sim-device.ts'
import { listen } from '../../packages/services/src/http/listen.ts'
import type { WorkerReady } from './worker.ts'

export interface ControllerOrder {
  readonly worker: WorkerReady
  /** TLS 1.3 on both sides. Without it the worker is admitted over TLS all the same, and its connections are then replaced: no option of a controller does that. */
  readonly tls: boolean
  readonly directory: string
}

const now = (): Date => new Date()

process.on('disconnect', () => process.exit())
process.once('message', (order: ControllerOrder) => void start(order))

async function start({ worker, tls, directory }: ControllerOrder): Promise<void> {
  // Not the demo's machine, with which an engine would come into memory that no controller has.
  const platform = await createSimPlatform({ at: now() })
  const controller = await createController({
    quoter: createQuoter(createSimDevice(platform, simulatedEnclave('controller', 'bench'))),
    collateral: () => platform.collateral,
    rules: policyRules(async () => ({ policy: worker.policy, trust: { roots: [worker.root] } })),
    allowLoopbackWorkers: true,
    configuration: {},
    now,
    archive: await openReceiptArchive({ path: join(directory, 'receipts.db'), sealing: await openFileSealingKey(join(directory, 'sealing.key')) }),
  })
  const admitted = await controller.registry.admit(`https://127.0.0.1:${worker.tlsPort}`, worker.keysetDigest)
  if (!tls) admitted.pool = new Pool(`http://127.0.0.1:${worker.plainPort}`, { connections: 1024 })
  const bind = { host: '127.0.0.1', port: 0, simulated: true, apiKeys: false }
  const { port } = await listen({ ...bind, tls: tls ? controller.identity.tls : null }, controller.api)
  process.on('message', () => {
    // Asked for after each measurement: had a worker's receipt not matched, the worker would serve no more, and the figures would be of refusals.
    process.send?.({ quarantine: admitted.quarantine, figures: controller.ledger.figures })
  })
  process.send?.({ port })
}
