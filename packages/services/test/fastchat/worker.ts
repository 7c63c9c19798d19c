import { createSimPlatform } from 'veritee/attestation/sim'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { startFastchat } from '../../src/enclave/worker/fastchat/index.ts'
import { type ServedModel, serveModel } from '../../src/enclave/worker/served-model.ts'
import { createWorker, type Worker } from '../../src/enclave/worker/worker.ts'
import { openDemo } from '../engine/demo.ts'

export const now = (): Date => new Date()
export const loopback = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false } as const

export interface TestWorker {
  readonly worker: Worker
  readonly served: ServedModel
  dispose(): Promise<void>
}

/** A worker with the demo model on simulated hardware, with no listener. */
export async function testWorker(options: { readonly sequences?: number; readonly maxQueue?: number } = {}): Promise<TestWorker> {
  const platform = await createSimPlatform({ at: now() })
  const { engine, template } = await openDemo(options)
  const served = serveModel('veritee-demo', 'veritee-demo-q8_0.gguf', engine, template)
  const device = createSimDevice(platform, { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 })
  const worker = await createWorker({
    callers: 'anybody',
    quoter: createQuoter(device),
    collateral: () => platform.collateral,
    models: [served],
    configuration: {},
    now,
  })
  return { worker, served, dispose: () => engine.dispose() }
}

export function fastchat({ worker, served }: TestWorker, controllerUrl: string | null = null): ReturnType<typeof startFastchat> {
  return startFastchat({ worker: () => worker, models: [served], bind: loopback, advertise: null, controllerUrl, report: () => undefined })
}
