// Ours, with everything on: the controller as it is, with one admitted worker, receipts in a file.
import { connect } from 'node:net'
import { join } from 'node:path'
import { type buildConnector, Pool } from 'undici'
import { createSimPlatform } from 'veritee/attestation/sim'
import { openAccessControl } from '../../packages/services/src/controller/access/index.ts'
import { createController } from '../../packages/services/src/controller/controller.ts'
import { ByKind, plainAtOnce } from '../../packages/services/src/controller/worker-pool/by-kind.ts'
import { WorkerPool } from '../../packages/services/src/controller/worker-pool/pool.ts'
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
  /** Serves by API keys with limits, too high to be reached; the answer to the order has one. */
  readonly keys?: boolean
}

export interface ControllerReady {
  readonly port: number
  readonly key: string | null
  /** To which bodies can be encrypted, hex. */
  readonly ehbp: string
}

const now = (): Date => new Date()

/** Connections without TLS to who is known to speak HTTP/2. */
const plainHttp2: buildConnector.connector = ({ hostname, port }, callback) => {
  const socket = Object.assign(connect(Number(port), hostname), { alpnProtocol: 'h2' })
  socket.setNoDelay(true)
  socket.once('connect', () => callback(null, socket))
  socket.once('error', (error) => callback(error, null))
}

process.on('disconnect', () => process.exit())
process.once('message', (order: ControllerOrder) => void start(order))

async function start({ worker, tls, directory, keys = false }: ControllerOrder): Promise<void> {
  // Not the demo's machine, with which an engine would come into memory that no controller has.
  const platform = await createSimPlatform({ at: now() })
  const archive = await openReceiptArchive({
    path: join(directory, 'receipts.db'),
    sealing: await openFileSealingKey(join(directory, 'sealing.key')),
  })
  const access = keys ? await openAccessControl({ archive, now, minimumVersion: 0, report: () => undefined }) : null
  const limits = { requests_per_minute: 1_000_000_000, tokens_per_minute: 1_000_000_000_000, tokens_per_month: 1_000_000_000_000 }
  const made = await access?.ring.create({ name: 'bench', models: ['bench'], limits, expires: null })
  const controller = await createController({
    quoter: createQuoter(createSimDevice(platform, simulatedEnclave('controller', 'bench'))),
    collateral: () => platform.collateral,
    rules: policyRules(async () => ({ policy: worker.policy, trust: { roots: [worker.root] } })),
    allowLoopbackWorkers: true,
    configuration: {},
    now,
    archive,
    ...(access !== null && { access: access.access }),
  })
  const admitted = await controller.registry.admit(`https://127.0.0.1:${worker.tlsPort}`, worker.keysetDigest)
  if (!tls) {
    const streams = new WorkerPool(`http://127.0.0.1:${worker.plainHttp2Port}`, 1028, () => plainHttp2)
    admitted.pool = new ByKind(streams, new Pool(`http://127.0.0.1:${worker.plainPort}`, { connections: plainAtOnce, allowH2: false }))
  }
  const bind = { host: '127.0.0.1', port: 0, simulated: true, apiKeys: false }
  const offered = tls ? ({ tls: controller.identity.tls, http2: 'requesters' } as const) : { tls: null }
  const { port } = await listen({ ...bind, ...offered }, controller.api)
  process.on('message', () => {
    // Asked for after each measurement: had a worker's receipt not matched, the worker would serve no more, and the figures would be of refusals.
    process.send?.({ quarantine: admitted.quarantine, figures: controller.ledger.figures })
  })
  const ehbp = controller.identity.keyset.e2ee_public_keys[0]?.public_key ?? ''
  process.send?.({ port, key: made?.key ?? null, ehbp } satisfies ControllerReady)
}
