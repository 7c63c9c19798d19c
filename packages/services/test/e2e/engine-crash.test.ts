import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { expect, test, vi } from 'vitest'
import { policyOf, simulateMachine, startWorker } from '../../src/demo/system.ts'
import { loadChatTemplate } from '../../src/enclave/worker/engine/index.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { openEngineProcess } from '../../src/engine-process/index.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { now } from './network.ts'

test('the engine process is killed in the middle of four streams: each has a verified receipt that says error, and the worker serves again', {
  timeout: 300_000,
}, async () => {
  const engine = await openEngineProcess({ path: demoPath, pauseMs: 1 })
  const closing: (() => unknown)[] = [() => engine.dispose()]
  try {
    const served = serveModel('veritee-demo', 'demo.gguf', engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
    const machine = await simulateMachine(now)
    const policy = policyOf(machine, [{ served, engine, fileDigest: `sha256:${demoSha256}` }])
    const worker = await startWorker(machine, [served], 0, now)
    closing.push(() => worker.server.close())
    const transport = nodeTransport(worker.server.url)
    closing.push(() => transport.close())
    const service = await connect(transport, { policy, trust: machine.trust, role: 'worker', now })

    const begun = Array.from({ length: 4 }, () => Promise.withResolvers<void>())
    const answers = begun.map(({ resolve }, seed) =>
      ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Tell me a story about a dragon.', { stream: true, temperature: 1, seed }), {
        onEvent: () => {
          resolve()
          return true
        },
      }),
    )
    await Promise.all(begun.map(({ promise }) => promise))
    process.kill(engine.pid as number, 'SIGKILL')
    for (const answer of await Promise.all(answers)) expect(answer.proof).toMatchObject({ outcome: 'verified', inferenceOutcome: 'error' })

    const body = chatBody('veritee-demo', 'Who are you?', { temperature: 0 })
    await vi.waitFor(() => expect(engine.ready).toBe(true), { timeout: 240_000, interval: 20 })
    const again = await ask(service, '/v1/chat/completions', body)
    expect(again.proof).toMatchObject({ outcome: 'verified', inferenceOutcome: 'complete' })
  } finally {
    for (const close of closing.reverse()) await close()
  }
})
