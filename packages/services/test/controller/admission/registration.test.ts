import { createServer } from 'node:net'
import { parseJson, toHex } from 'veritee/bytes'
import { nodeTransport, readBody } from 'veritee/client'
import { generateEd25519 } from 'veritee/crypto'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { RegistrationNonces } from '../../../src/controller/admission/nonces.ts'
import type { Registry } from '../../../src/controller/registry.ts'
import { type Registration, signRegistration, verifyRegistration } from '../../../src/enclave/runtime/admission/registration.ts'
import { leaveController, registerWorker } from '../../../src/enclave/worker/register.ts'
import { listen } from '../../../src/http/listen.ts'
import { type Control, enclaves, openSetting, type RunningWorker, type Setting } from './setting.ts'

let setting: Setting
let registry: Registry
let control: Control
let worker: RunningWorker
const closing: (() => unknown)[] = []
beforeEach(async () => {
  setting = await openSetting()
  registry = setting.registry(await setting.rules())
  control = await setting.control(registry)
  worker = await setting.worker()
})
afterEach(async () => {
  for (const stop of closing.splice(0).reverse()) await stop()
  await setting.close()
})

async function post(url: string, path: string, body: string): Promise<{ status: number; code: unknown; answer: { [name: string]: unknown } }> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({ method: 'POST', path, body: Buffer.from(body) })
    const text = new TextDecoder().decode(await readBody(response, 1 << 20))
    const answer = parseJson(text, { maxLength: 1 << 20, maxDepth: 8 }) as { error?: { code: unknown }; [name: string]: unknown }
    return { status: response.status, code: answer.error?.code ?? null, answer }
  } finally {
    transport.close()
  }
}

const nonceOf = async (): Promise<string> => String((await post(control.url, '/v1/workers/nonce', '')).answer.nonce)

async function registration(changes: Partial<Registration> = {}, { worker: one } = worker): Promise<string> {
  const nonce = await nonceOf()
  const fields = { purpose: 'register', url: worker.server.url, controller: control.digest, nonce, ticket: null, operatorSignature: null } as const
  return signRegistration(one.identity, { ...fields, ...changes })
}

const register = async (text: string) => {
  const { status, code } = await post(control.url, '/v1/workers', text)
  return { status, code }
}

/** A place that counts who connects to it. */
async function place(): Promise<{ readonly url: string; connections: number }> {
  const found = { url: '', connections: 0 }
  const server = createServer((socket) => {
    found.connections++
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => server.close())
  const address = server.address()
  return Object.assign(found, { url: `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}` })
}

describe('S13: forged registration', () => {
  const edited = (text: string, change: (document: { [name: string]: unknown }) => void): string => {
    const document = JSON.parse(text) as { [name: string]: unknown }
    change(document)
    return JSON.stringify(document)
  }

  it('nothing is connected to for what the keyset has not signed', async () => {
    const target = await place()
    const stranger = await setting.worker()
    const honest = await registration()
    const forged: readonly (readonly [string, string, string])[] = [
      ['another address', edited(honest, (document) => Object.assign(document, { url: target.url })), 'registration_signature_invalid'],
      ['another ticket', edited(honest, (document) => Object.assign(document, { ticket: '00'.repeat(16) })), 'registration_signature_invalid'],
      [
        'the keyset of another',
        edited(honest, (document) => Object.assign(document, { keyset: stranger.worker.identity.keyset })),
        'registration_signature_invalid',
      ],
      ['a key that is not there', edited(honest, (document) => Object.assign(document, { key_id: 'receipt-2' })), 'registration_signature_invalid'],
      ['no signature', edited(honest, (document) => delete document.signature), 'registration_malformed'],
      [
        'the signature of another',
        edited(honest, (document) => Object.assign(document, { signature: toHex(stranger.worker.identity.signRegistration(Buffer.from('x'))) })),
        'registration_signature_invalid',
      ],
      ['an address that is none, signed', await registration({ url: 'https://169.254.169.254' }), 'address_refused'],
    ]
    for (const [name, text, code] of forged) expect((await register(text)).code, name).toBe(code)
    // A receipt under the same key is no registration.
    const receipt = toHex(worker.worker.identity.signReceipt(Buffer.from(honest)))
    expect((await register(edited(honest, (document) => Object.assign(document, { signature: receipt })))).code).toBe(
      'registration_signature_invalid',
    )
    expect([target.connections, registry.all()]).toEqual([0, []])
    expect(await register(honest)).toEqual({ status: 201, code: null })
  })

  it('a keyset past its time', async () => {
    setting.ahead = 25 * 3600
    const text = await registration()
    await expect(verifyRegistration(text, setting.now())).rejects.toMatchObject({ code: 'keyset_expired' })
    expect((await register(text)).code).toBe('keyset_expired')
  })

  test.each([
    ['nothing', ''],
    ['an array', '[]'],
    ['depth', `{"a":${'['.repeat(50)}${']'.repeat(50)}}`],
    ['length', `"${'x'.repeat(70_000)}"`],
    ['a fraction', '{"version":1.5}'],
  ])('malformed: %s', async (_, text) => {
    await expect(verifyRegistration(text, setting.now())).rejects.toMatchObject({ code: 'registration_malformed' })
  })
})

describe('S13: replayed registration', () => {
  it('serves once, for one controller, for one purpose, and for a minute', async () => {
    const text = await registration()
    expect((await register(text)).status).toBe(201)
    expect(await register(text)).toEqual({ status: 403, code: 'registration_replayed' })
    const leaving = await registration({ purpose: 'leave' })
    expect((await register(leaving)).code).toBe('registration_misdirected')
    const other = await setting.control(registry, `sha256:${'dd'.repeat(32)}`)
    const elsewhere = await registration()
    expect((await post(other.url, '/v1/workers', elsewhere)).code).toBe('registration_misdirected')
    // Another controller that took over the keys' name would still not know the nonce.
    other.digest = control.digest
    expect((await post(other.url, '/v1/workers', elsewhere)).code).toBe('registration_replayed')
    const old = await registration()
    setting.ahead = 60
    expect((await register(old)).code).toBe('registration_replayed')
    for (const nonce of ['00'.repeat(32), 'ff'.repeat(32)]) expect((await register(await registration({ nonce }))).code).toBe('registration_replayed')
  })

  it('nonces that were asked for and not used take no place of others, and used ones are forgotten after their minute', () => {
    let at = 1_000_000
    const nonces = new RegistrationNonces(() => new Date(at))
    const first = nonces.give()
    for (let i = 0; i < 10_000; i++) nonces.give()
    nonces.take(first)
    expect(() => nonces.take(first)).toThrow(expect.objectContaining({ code: 'registration_replayed' }))
    at += 60_000
    expect(() => nonces.take(first)).toThrow(expect.objectContaining({ code: 'registration_replayed' }))
    at -= 120_000
    expect(() => nonces.take(first)).toThrow(expect.objectContaining({ code: 'registration_replayed' }))
  })
})

describe('S13: evidence of others', () => {
  /** A service with keys of its own that answers the challenge with what it has of somebody else. */
  async function liar(report: (url: string) => Promise<string>): Promise<{ readonly worker: RunningWorker['worker']; readonly url: string }> {
    const own = await setting.worker({ enclave: { ...enclaves.worker, mrenclave: 'ee'.repeat(32) } })
    const bind = { host: '127.0.0.1', port: 0, tls: own.worker.identity.tls, simulated: true, apiKeys: false }
    const server = await listen(bind, (request, response) => {
      void report(request.url ?? '').then((text) => response.writeHead(200, { 'content-type': 'application/json' }).end(text))
    })
    closing.push(() => server.close())
    return { worker: own.worker, url: server.url }
  }
  const relay = async (path: string): Promise<string> => {
    const transport = nodeTransport(worker.server.url)
    try {
      return new TextDecoder().decode(await readBody(await transport.send({ method: 'GET', path }), 1 << 20))
    } finally {
      transport.close()
    }
  }
  const come = (liar: { readonly worker: RunningWorker['worker']; readonly url: string }): Promise<unknown> =>
    registerWorker(control.url, liar.url, liar.worker)

  it('replayed evidence: a genuine report for an earlier nonce', async () => {
    const earlier = await relay(`/v1/aci/attestation?nonce=${'ab'.repeat(32)}`)
    await expect(come(await liar(async () => earlier))).rejects.toThrow(/report_nonce_mismatch/)
  })

  it('evidence relayed from another worker: genuine and fresh, and of keys that the relay does not hold', async () => {
    await expect(come(await liar(relay))).rejects.toThrow(/channel_mismatch/)
    // Through a relay of bytes TLS ends in the genuine worker, and then the registration is not that of its keyset.
    const own = await setting.worker({ enclave: { ...enclaves.worker, mrenclave: 'ee'.repeat(32) } })
    await expect(registerWorker(control.url, worker.server.url, own.worker)).rejects.toThrow(/keyset_changed/)
    expect(registry.all()).toEqual([])
  })
})

describe('SSRF addresses: refused before any connection', () => {
  it.each([
    ...['https://169.254.169.254', 'https://[::ffff:169.254.169.254]', 'https://[64:ff9b::a9fe:a9fe]', 'https://[2002:a9fe:a9fe::]'],
    ...['https://[::a9fe:a9fe]', 'https://[::ffff:0:a9fe:a9fe]', 'https://[fd00:ec2::254]', 'https://100.100.100.200', 'https://168.63.129.16'],
    ...['https://192.0.0.192', 'https://0.0.0.0', 'https://[::]', 'https://[fe80::1]', 'https://[fec0::1]', 'https://255.255.255.255'],
    ...['https://metadata.google.internal', 'https://2852039166', 'https://0251.0376.0251.0376', 'https://user@10.0.0.1', 'http://10.0.0.1'],
    ...['https://10.0.0.1/path', 'file:///etc/passwd', 'https://10.0.0.1?x', 'https://localhost'],
  ])('%s', async (url) => {
    expect(await register(await registration({ url }))).toEqual({ status: 403, code: 'address_refused' })
  })
})

describe('S17: operators', () => {
  it('a worker whose operator the manifest lists, signed by him; not without his signature, and not under the name of another', async () => {
    const [operator, other] = [await generateEd25519(), await generateEd25519()]
    const mine = await setting.worker({ operator })
    const listed = setting.registry(await setting.rules({ worker: { operator: [toHex(operator.publicKey)] } }))
    const at = await setting.control(listed)
    await expect(registerWorker(at.url, mine.server.url, mine.worker)).resolves.toBeDefined()
    expect(listed.all()[0]?.party.operator).toBe(toHex(operator.publicKey))
    const foreign = await setting.worker({ operator: other })
    await expect(registerWorker(at.url, foreign.server.url, foreign.worker)).rejects.toThrow(/policy_operator/)
    const claim = (operatorSignature: string | null, { worker: one, server } = mine) =>
      registerWorker(at.url, server.url, { identity: { ...one.identity, operatorSignature }, tickets: one.tickets, controllers: null })
    await expect(claim(null)).rejects.toThrow(/operator_signature_missing/)
    await expect(claim(foreign.worker.identity.operatorSignature)).rejects.toThrow(/operator_signature_invalid/)
    // New keys need a new signature, and have one.
    const before = mine.worker.identity.operatorSignature
    await mine.worker.renew()
    mine.server.renewTls(mine.worker.identity.tls)
    await expect(claim(before)).rejects.toThrow(/operator_signature_invalid/)
    await expect(registerWorker(at.url, mine.server.url, mine.worker)).resolves.toBeDefined()
  })

  it('a machine serves one operator at a time, unless the manifest names it shared', async () => {
    const workers = await Promise.all([generateEd25519(), generateEd25519()].map(async (operator) => setting.worker({ operator: await operator })))
    const [first, second] = workers as [RunningWorker, RunningWorker]
    await registerWorker(control.url, first.server.url, first.worker)
    await expect(registerWorker(control.url, second.server.url, second.worker)).rejects.toThrow(/admission_platform/)
    // When the first has left, the machine is free.
    await leaveController(control.url, first.server.url, first.worker)
    await expect(registerWorker(control.url, second.server.url, second.worker)).resolves.toBeDefined()
    const platform = String(registry.all()[0]?.party.platform)
    const sharing = await setting.control(setting.registry(await setting.rules({ platforms: { shared: [platform] } })))
    for (const one of workers) await expect(registerWorker(sharing.url, one.server.url, one.worker)).resolves.toBeDefined()
  })
})

describe('leaving', () => {
  it('what is idle is forgotten at once, what has requests under way once they have ended; nobody else can say it', async () => {
    await registerWorker(control.url, worker.server.url, worker.worker)
    const other = await setting.worker()
    await registerWorker(control.url, other.server.url, other.worker)
    const admitted = registry.withKeyset(worker.digest)
    if (admitted === undefined) throw new Error('admitted')
    admitted.load.outstanding = 1
    const forged = JSON.parse(await registration({ purpose: 'leave' }, other)) as object
    const named = { ...forged, keyset: worker.worker.identity.keyset }
    expect((await post(control.url, '/v1/workers/leave', JSON.stringify(named))).code).toBe('registration_signature_invalid')
    await leaveController(control.url, worker.server.url, worker.worker)
    expect(admitted.quarantine).toBe('it has left')
    expect(registry.all()).toHaveLength(2)
    await leaveController(control.url, other.server.url, other.worker)
    expect(registry.all()).toEqual([admitted])
    admitted.load.outstanding = 0
    await registerWorker(control.url, other.server.url, other.worker)
    expect(registry.all().map(({ origin }) => origin)).toEqual([other.server.url])
    await expect(leaveController(control.url, worker.server.url, worker.worker)).rejects.toMatchObject({ code: 'service_refused' })
  })
})
