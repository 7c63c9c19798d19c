import net from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { type Connection, connect, type Proof } from '../../src/client/index.ts'
import { trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { tlsIdentity } from './servers.ts'
import { type FakeService, fakeService } from './service.ts'

const open: net.Server[] = []
const sockets = new Set<net.Socket>()
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  for (const server of open.splice(0)) await new Promise((done) => server.close(done))
})

/** Leads each new connection to the next replica that is up. */
async function balancer(replicas: FakeService[]): Promise<string> {
  let next = 0
  const server = net.createServer((socket) => {
    const replica = replicas[next++ % replicas.length] as FakeService
    const upstream = net.connect(replica.port, '127.0.0.1')
    for (const one of [socket, upstream]) {
      sockets.add(one)
      one.on('error', () => one.destroy()).on('close', () => sockets.delete(one))
    }
    socket.on('close', () => upstream.destroy())
    upstream.on('close', () => socket.destroy())
    socket.pipe(upstream).pipe(socket)
  })
  open.push(server)
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return `https://127.0.0.1:${(server.address() as net.AddressInfo).port}`
}

async function ask(c: Connection): Promise<Proof> {
  const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: '{"model":"demo-model","stream":true,"messages":[]}' })
  await response.text()
  return c.proofOf(response)
}

describe('replicas behind a balancer, each with keys of its own', () => {
  it('S8: an answer is proven by the replica that gave it, wherever further connections end', async () => {
    const replicas = [
      await fakeService({}, await tlsIdentity()),
      await fakeService({}, await tlsIdentity()),
      await fakeService({}, await tlsIdentity()),
    ]
    const c = await connect(await balancer(replicas), { policy: policyOf({}, { channel: 'attested' }), trust: await trust() })
    for (let i = 0; i < 4; i++) expect(await ask(c)).toMatchObject({ status: 'verified', error: null })
    c.close()
  })
  it('S8: where a replica goes away, the next one is verified before it gets a prompt', async () => {
    const replicas = [await fakeService({}, await tlsIdentity()), await fakeService({}, await tlsIdentity())]
    const c = await connect(await balancer(replicas), { policy: policyOf({}, { channel: 'attested' }), trust: await trust() })
    const served = async (): Promise<string> => (await ask(c)).service.keysetDigest
    const first = await served()
    const gone = replicas[0]?.controller.digest === first ? 0 : 1
    replicas.splice(gone, 1)[0]?.close()
    const other = replicas[0] as FakeService
    for (const socket of sockets) socket.destroy()
    // The connection may not have noticed yet.
    let second: string | null = null
    while (second === null) second = await served().catch(() => null)
    expect(second).toBe(other.controller.digest)
    expect(other.requests.findIndex((line) => line.startsWith('POST'))).toBeGreaterThan(other.requests.indexOf('GET /v1/aci/attestation'))
    c.close()
  })
  it('S8: named, one of them is verified under its own name and kept to, many requests at once or not', async () => {
    const replicas = [
      await fakeService({}, await tlsIdentity()),
      await fakeService({}, await tlsIdentity()),
      await fakeService({}, await tlsIdentity()),
    ]
    for (const replica of replicas) replica.behaviour.replicas = replicas.map(({ url }) => url)
    const c = await connect(await balancer(replicas), { policy: policyOf({}, { channel: 'attested' }), trust: await trust() })
    const models = await Promise.all(Array.from({ length: 6 }, () => c.fetch(`${c.baseURL}/models`)))
    expect(models.map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => 200))
    const { origin } = (await ask(c)).service
    expect(replicas.map(({ url }) => url)).toContain(origin)
    expect(replicas.map(({ requests }) => requests.filter((line) => line === 'GET /v1/models').length).filter((count) => count > 0)).toEqual([6])
    c.close()
  })
  it.each<[string, (first: FakeService) => unknown]>([
    ['is gone', (first) => first.close()],
    [
      'says that it stops',
      (first) => {
        first.behaviour.answers['/v1/chat'] = { status: 503, body: '{"error":{"code":"service_draining","message":"this service is stopping"}}' }
      },
    ],
  ])('S8: where the one kept to %s, another one is verified and asked', async (_, leave) => {
    const replicas = [await fakeService({}, await tlsIdentity()), await fakeService({}, await tlsIdentity())]
    for (const replica of replicas) replica.behaviour.replicas = replicas.map(({ url }) => url)
    const c = await connect(await balancer(replicas), { policy: policyOf({}, { channel: 'attested' }), trust: await trust() })
    const { origin } = (await ask(c)).service
    const first = replicas.find(({ url }) => url === origin) as FakeService
    const other = replicas.find(({ url }) => url !== origin) as FakeService
    await leave(first)
    let proof: Proof | null = null
    // The first attempt may tell what an SDK tries again after: a connection that broke, or a 503.
    for (let tries = 0; proof === null && tries < 4; tries++) proof = await ask(c).catch(() => null)
    expect(proof).toMatchObject({ status: 'verified', service: { origin: other.url } })
    c.close()
  })
  it('S8: names of somebody else are hints: who is there is verified like anybody, and gets nothing', async () => {
    const honest = await fakeService({}, await tlsIdentity())
    const thief = await fakeService({}, await tlsIdentity())
    // Its TLS key is in no keyset that it can show.
    thief.behaviour.reporter = honest.controller
    honest.behaviour.replicas = [thief.url, `http://127.0.0.1:${thief.port}`, 'not a URL', honest.url]
    const c = await connect(honest.url, { policy: policyOf({}, { channel: 'attested' }), trust: await trust() })
    expect((await ask(c)).service.origin).toBe(honest.url)
    expect(thief.requests.every((line) => line === 'GET /v1/aci/attestation')).toBe(true)
    c.close()
  })
})
