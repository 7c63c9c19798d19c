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
})
