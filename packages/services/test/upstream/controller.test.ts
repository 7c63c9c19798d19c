import { connect, nodeTransport } from 'veritee/client'
import type { EvidencePolicy, Policy } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { demoPolicy } from '../../src/demo/policy.ts'
import { type RunningController, startController } from '../../src/demo/system.ts'
import { registerWorker } from '../../src/enclave/worker/register.ts'
import { dialects } from './dialects.ts'
import { type FakeEngine, fakeEngine, json } from './fake-engine.ts'
import { askFor, machine, now, policyOf, post, type UpstreamWorker, upstreamWorker } from './upstream-worker.ts'

const measured = { mrenclave: '33'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
const [vllm] = dialects

let engine: FakeEngine
let worker: UpstreamWorker
const running: RunningController[] = []
beforeAll(async () => {
  engine = await fakeEngine('vllm', (body, response) => vllm?.answer(body, response))
  worker = await upstreamWorker(engine, 'vllm')
})
afterAll(async () => {
  for (const { api, control, controller } of running) {
    await api.close()
    await control.close()
    await controller.close()
  }
  await worker.close()
  await engine.close()
})

/** As in a policy written before there were external engines. */
function absent(): Partial<EvidencePolicy> {
  const { externalEngine: _, ...section } = policyOf({}).roles.worker as EvidencePolicy
  return section
}

/** Demands without `externalEngine` make a section without it. */
const policyWith = (demands: Partial<EvidencePolicy>): Policy => ({
  version: 'veritee.policy.v1',
  roles: {
    ...demoPolicy({ controller: measured, worker: measured }, {}).roles,
    worker: 'externalEngine' in demands ? (policyOf(demands).roles.worker as EvidencePolicy) : (demands as EvidencePolicy),
  },
})

async function controllerWith(demands: Partial<EvidencePolicy>): Promise<RunningController> {
  const platform = await machine()
  const enclaves = { controller: measured, worker: measured, broker: measured, changedWorker: measured }
  const controller = await startController(
    { platform, trust: { roots: [platform.root] }, enclaves },
    policyWith(demands),
    { api: 0, control: 0 },
    now,
  )
  running.push(controller)
  return controller
}
const register = ({ control }: RunningController): ReturnType<typeof registerWorker> => registerWorker(control.url, worker.url, worker.worker)

describe('S2: a worker with an external engine behind a controller', () => {
  test('S2: is not admitted by a policy that does not speak of such engines', async () => {
    for (const demands of [{ externalEngine: 'refuse' }, { externalEngine: 'measured' }, absent()] as const)
      await expect(controllerWith(demands).then(register)).rejects.toThrow(/EXTERNAL engine vllm/)
  })

  test('S2: where admitted, its weights are unknown in the session, and a client that does not want that gets no verified answer', async () => {
    const controller = await controllerWith({ externalEngine: 'any' })
    const { sessionId } = await register(controller)
    const platform = await machine()
    const client = (demands: Partial<EvidencePolicy>): ReturnType<typeof connect> =>
      connect(nodeTransport(controller.api.url), { policy: policyWith(demands), trust: { roots: [platform.root] }, role: 'controller', now })
    const answer = await askFor(await client({ externalEngine: 'any' }), { stream: true })
    expect([answer.proof.outcome, answer.proof.session?.id]).toEqual(['verified', sessionId])
    expect(answer.proof.session?.document.claims.model_weights_provenance).toEqual({ status: 'unknown' })
    expect(answer.proof.checks.map(({ id }) => id)).toEqual(expect.arrayContaining(['engine', 'rewrite', 'worker.receipt']))
    await expect(askFor(await client({ externalEngine: 'refuse' }), {})).rejects.toMatchObject({ code: 'policy_engine' })
  })

  test('what the engine refuses reaches the client as OpenAI`s error, and does not cost the worker its place', async () => {
    const controller = await controllerWith({ externalEngine: 'any' })
    await register(controller)
    engine.chat = (_, response) => json(response, vllm?.tooLong[1], 400)
    const refused = await post(controller.api.url, {})
    expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([400, 'context_length_exceeded'])
    engine.chat = (body, response) => vllm?.answer(body, response)
    expect((await post(controller.api.url, {})).status).toBe(200)
  })
})
