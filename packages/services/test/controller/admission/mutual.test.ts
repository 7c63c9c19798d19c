import { generateKeyPairSync } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import type { SimEnclave } from 'veritee/attestation/sim'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Cancellation } from '../../../src/controller/cancellation.ts'
import { type Controller, createController } from '../../../src/controller/controller.ts'
import { pinnedPool } from '../../../src/controller/pinned-pool.ts'
import { callWorker, readWhole } from '../../../src/controller/worker-answer.ts'
import type { ManifestRules } from '../../../src/enclave/runtime/admission/rules.ts'
import { createQuoter } from '../../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../../src/enclave/runtime/sim-device.ts'
import { VerifiedControllers } from '../../../src/enclave/worker/controllers.ts'
import { registerWorker } from '../../../src/enclave/worker/register.ts'
import { type Listening, listen } from '../../../src/http/listen.ts'
import { enclaves, openSetting, type RunningWorker, type Setting } from './setting.ts'

let setting: Setting
let rules: ManifestRules
let worker: RunningWorker
const closing: (() => unknown)[] = []
beforeEach(async () => {
  setting = await openSetting()
  rules = await setting.rules()
  worker = await setting.worker({ callers: new VerifiedControllers(rules, setting.now) })
})
afterEach(async () => {
  for (const stop of closing.splice(0).reverse()) await stop()
  await setting.close()
})

interface RunningController {
  readonly controller: Controller
  readonly control: Listening
  readonly asked: string[]
}

async function controller(enclave: SimEnclave = enclaves.controller): Promise<RunningController> {
  const one = await createController({
    quoter: createQuoter(createSimDevice(setting.platform, enclave)),
    collateral: () => setting.platform.collateral,
    rules: await setting.rules(),
    allowLoopbackWorkers: true,
    configuration: {},
    now: setting.now,
  })
  const asked: string[] = []
  const control = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (request, response) => {
    asked.push(`${request.method} ${request.url?.split('?')[0]}`)
    one.control(request, response)
  })
  closing.push(
    () => one.close(),
    () => control.close(),
  )
  return { controller: one, control, asked }
}

const spki = (): string => worker.worker.identity.keyset.tls_public_keys[0]?.spki_sha256 ?? ''
const register = ({ control }: RunningController) => registerWorker(control.url, worker.server.url, worker.worker)
const body = JSON.stringify({ model: 'none', messages: [{ role: 'user', content: 'x' }] })

/** What the worker says to a request over a connection whose client shows this key: a worker that has no models answers 404 to whom it serves. */
async function ask(
  tls: { readonly key: string; readonly cert: string } | null,
  more: { [name: string]: string } = {},
  path = '/v1/chat/completions',
): Promise<[number, unknown]> {
  const pool = pinnedPool(worker.server.url, spki(), 1, tls)
  try {
    const headers = { 'content-type': 'application/json', ...more }
    const answer = await pool.request({ method: 'POST', path, headers, body })
    return [answer.statusCode, ((await answer.body.json()) as { error: { code: unknown } }).error.code]
  } finally {
    await pool.destroy()
  }
}

async function throughPool({ controller: { registry } }: RunningController): Promise<number> {
  const [admitted] = registry.all()
  if (admitted === undefined) return 0
  const asked = { method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json' }, body: Buffer.from(body) } as const
  const answer = await callWorker(admitted.pool, asked, new Cancellation())
  await readWhole(answer, 65_536)
  return answer.statusCode
}

const refused = [403, 'controller_not_verified']
const served = [404, 'model_not_found']

describe('S13: a worker serves controllers that it has verified', () => {
  it('one within its policy, over connections that show the key its evidence binds', async () => {
    const one = await controller()
    expect(await ask(one.controller.identity.tls)).toEqual(refused)
    await register(one)
    expect(await ask(one.controller.identity.tls)).toEqual(served)
    expect(await throughPool(one)).toBe(404)
    // It was verified before the worker said anything of itself.
    expect(one.asked).toEqual(['GET /v1/aci/attestation', 'POST /v1/workers/nonce', 'POST /v1/workers'])
  })

  it('a controller outside the policy of the worker: it is told nothing and served nothing', async () => {
    const other = await controller({ ...enclaves.controller, mrenclave: 'c2'.repeat(32) })
    await expect(register(other)).rejects.toMatchObject({ code: 'policy_identity' })
    expect(other.asked).toEqual(['GET /v1/aci/attestation'])
    expect(await ask(other.controller.identity.tls)).toEqual(refused)
  })

  it('S7: a worker is no controller, whatever its measurement', async () => {
    const twin = await setting.worker({ enclave: enclaves.controller })
    const port = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, twin.worker.handler)
    closing.push(() => port.close())
    await expect(registerWorker(port.url, worker.server.url, worker.worker)).rejects.toMatchObject({ code: 'policy_role' })
  })

  it('nobody else: no key, a key of his own, and the certificate of the controller without its key', async () => {
    const one = await controller()
    await register(one)
    const stranger = await controller()
    expect(await ask(null)).toEqual(refused)
    expect(await ask(stranger.controller.identity.tls)).toEqual(refused)
    // Nor with a body that says that it is encrypted to the worker.
    for (const path of ['/v1/chat/completions', '/v1/veritee/receipts'])
      expect(await ask(stranger.controller.identity.tls, { 'ehbp-encapsulated-key': '00'.repeat(32) }, path)).toEqual(refused)
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const stolen = { cert: one.controller.identity.tls.cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
    await expect(ask(stolen)).rejects.toThrow(/key values mismatch/i)
    // Proofs are for everybody.
    const answer = await new Promise<number | undefined>((resolve, reject) => {
      const options = { rejectUnauthorized: false, method: 'GET' }
      httpsRequest(`${worker.server.url}/v1/aci/attestation`, options, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })
    expect(answer).toBe(200)
  })

  it('replayed evidence of a controller, and that of another in the place of its own', async () => {
    const one = await controller()
    let text = await one.controller.identity.report('ab'.repeat(32))
    const liar = await controller()
    const port = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (request, response) => {
      if (request.url?.startsWith('/v1/aci/attestation') !== true) return liar.controller.control(request, response)
      return void (async () => {
        if (text === '') text = await one.controller.identity.report(new URL(request.url ?? '', 'http://x').searchParams.get('nonce'))
        response.writeHead(200, { 'content-type': 'application/json' }).end(text)
      })()
    })
    closing.push(() => port.close())
    const go = () => registerWorker(port.url, worker.server.url, worker.worker)
    await expect(go()).rejects.toMatchObject({ code: 'report_nonce_mismatch' })
    text = ''
    // Fresh and genuine, and of another than the one that would take the registration.
    await expect(go()).rejects.toMatchObject({ code: 'keyset_changed' })
    expect(await ask(liar.controller.identity.tls)).toEqual(refused)
  })

  it('for as long as it has verified it: an hour, and not after its manifest has ended or no longer lists it', async () => {
    const one = await controller()
    await register(one)
    setting.ahead = 3300
    expect(await ask(one.controller.identity.tls)).toEqual(served)
    setting.ahead = 3601
    expect(await ask(one.controller.identity.tls)).toEqual(refused)
    await register(one)
    expect(await ask(one.controller.identity.tls)).toEqual(served)
    await rules.offer(await setting.manifest({ version: 2, controller: { identity: [{ mrenclave: 'c3'.repeat(32) }] } }))
    await worker.worker.controllers?.judgeAgain()
    expect(await ask(one.controller.identity.tls)).toEqual(refused)
    await expect(register(one)).rejects.toMatchObject({ code: 'policy_identity' })
    await rules.offer(await setting.manifest({ version: 3, to: 60 }))
    await register(one)
    setting.ahead += 61
    expect(await ask(one.controller.identity.tls)).toEqual(refused)
    await expect(register(one)).rejects.toMatchObject({ code: 'admission_manifest_expired' })
  })

  it('new keys of the controller: its connections go on under the old ones until the worker has verified the new', async () => {
    const one = await controller()
    await register(one)
    const before = one.controller.registry.all()[0]?.pool
    const old = one.controller.identity.tls
    await one.controller.renew()
    expect(await throughPool(one)).toBe(404)
    expect(await ask(one.controller.identity.tls)).toEqual(refused)
    await register(one)
    expect(one.controller.registry.all()[0]?.pool).not.toBe(before)
    expect(await throughPool(one)).toBe(404)
    expect(await ask(one.controller.identity.tls)).toEqual(served)
    // Until their end, which is the enclave's own.
    expect(await ask(old)).toEqual(served)
    // Registering again under the same keys keeps the connections.
    const kept = one.controller.registry.all()[0]?.pool
    await register(one)
    expect(one.controller.registry.all()[0]?.pool).toBe(kept)
  })

  it('S7: names the manifest under which it serves', async () => {
    expect(worker.worker.identity.descriptor.admission).toEqual(rules.described)
  })

  it('S11, S22: its challenge when it verifies the worker again goes first, whoever else asks for quotes', async () => {
    const one = await controller()
    await register(one)
    const [admitted] = one.controller.registry.all()
    if (admitted === undefined) throw new TypeError('not admitted')
    const pool = pinnedPool(worker.server.url, spki(), 1)
    const ask = async (): Promise<number> => {
      const answer = await pool.request({ method: 'GET', path: `/v1/aci/attestation?nonce=${'ab'.repeat(32)}` })
      await answer.body.dump()
      return answer.statusCode
    }
    try {
      // More than one address may: from here on it gets a few a second, and the controller is at the same address.
      while ((await ask()) === 200);
      const others: number[] = []
      for (let i = 0; i < 60; i++) {
        const [now] = one.controller.registry.all()
        await expect(one.controller.registry.verifyAgain(now ?? admitted)).resolves.toMatchObject({ quarantine: null })
        others.push(await ask())
      }
      expect(others).toContain(429)
    } finally {
      await pool.destroy()
    }
  })
})
