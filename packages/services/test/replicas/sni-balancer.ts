import { connect, createServer, type Socket } from 'node:net'

/** A balancer on the fourth layer, as operators put it in front of replicas: it reads the name in the first TLS record, passes every byte on, and ends nothing. */
export interface Balancer {
  readonly port: number
  /** Connections that went to each port. */
  readonly connections: ReadonlyMap<number, number>
  close(): Promise<void>
}

/** `named`: the port behind a name. Any other name is the shared one: its connections go to ports that are healthy, in turn. */
export async function startBalancer(named: ReadonlyMap<string, number>, healthy: (port: number) => Promise<boolean>): Promise<Balancer> {
  let ports: number[] = []
  const look = async (): Promise<void> => {
    const all = await Promise.all([...named.values()].map(async (port) => [port, await healthy(port).catch(() => false)] as const))
    ports = all.filter(([, well]) => well).map(([port]) => port)
  }
  const health = setInterval(() => void look(), 200)
  const connections = new Map<number, number>()
  const open = new Set<Socket>()
  let turn = 0
  const server = createServer((client) => {
    open.add(client)
    client.once('close', () => open.delete(client)).on('error', () => client.destroy())
    let hello = Buffer.alloc(0)
    const read = (part: Buffer): void => {
      hello = Buffer.concat([hello, part])
      if (hello.length < 5 || hello.length < 5 + hello.readUInt16BE(3)) return
      client.off('data', read).pause()
      const own = named.get(serverName(hello) ?? '')
      turn++
      pass(client, hello, own === undefined ? ports.map((_, i) => ports[(turn + i) % ports.length] ?? 0) : [own])
    }
    client.on('data', read)
  })
  const pass = (client: Socket, hello: Buffer, candidates: readonly number[]): void => {
    const [port, ...others] = candidates
    if (port === undefined) return void client.destroy()
    const upstream = connect(port, '127.0.0.1')
    open.add(upstream)
    upstream.once('close', () => open.delete(upstream))
    let connected = false
    upstream.once('connect', () => {
      connected = true
      connections.set(port, (connections.get(port) ?? 0) + 1)
      upstream.write(hello)
      client.pipe(upstream).pipe(client)
      client.resume()
    })
    upstream.on('error', () => (connected ? client.destroy() : pass(client, hello, others)))
    client.once('close', () => upstream.destroy())
  }
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    connections,
    close: async () => {
      clearInterval(health)
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}

/** The name of the extension server_name (RFC 6066 section 3) in a ClientHello (RFC 8446 section 4.1.2); null without one. */
function serverName(record: Buffer): string | null {
  // Record header, handshake header, version, random.
  let at = 5 + 4 + 2 + 32
  at += 1 + record.readUInt8(at)
  at += 2 + record.readUInt16BE(at)
  at += 1 + record.readUInt8(at)
  const end = at + 2 + record.readUInt16BE(at)
  at += 2
  while (at + 4 <= end) {
    const type = record.readUInt16BE(at)
    const length = record.readUInt16BE(at + 2)
    if (type === 0) return record.subarray(at + 9, at + 4 + length).toString('latin1')
    at += 4 + length
  }
  return null
}
