import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { network } from './rate-limit.ts'

/** What a connection is about: nothing yet, or nothing any more; a request that is still coming; an answer. */
type Doing = 'idle' | 'sending' | 'answered'

interface Connection {
  readonly name: string
  readonly asked: string
  readonly socket: Socket
  readonly asker: Asker
  doing: Doing
  requests: number
}

/** The connections of one network that may be closed for others, those that have been so for longest first. */
interface Asker {
  readonly idle: Set<Connection>
  readonly sending: Set<Connection>
  open: number
}

/**
 * Bounds the connections of a server. Where there are as many as there may be, one that waits is closed for the one that comes: of the network that has most
 * of those, the one that has been idle for longest, else the one that has been sending its request for longest. One that is being answered is never closed;
 * where all are, the one that comes is. So whoever opens connections and leaves them closes his own.
 */
export function boundConnections(server: Server, most: number): void {
  const askers = new Map<string, Asker>()
  const connections = new Map<string, Connection>()

  const become = (connection: Connection, doing: Doing): void => {
    const { idle, sending } = connection.asker
    idle.delete(connection)
    sending.delete(connection)
    connection.doing = doing
    if (doing === 'idle') idle.add(connection)
    if (doing === 'sending') sending.add(connection)
  }

  const forget = (connection: Connection): void => {
    if (connections.get(connection.name) !== connection) return
    connections.delete(connection.name)
    become(connection, 'answered')
    if (--connection.asker.open === 0) askers.delete(connection.asked)
  }

  const makeRoom = (): boolean => {
    let fullest: Asker | null = null
    for (const asker of askers.values())
      if (fullest === null || asker.idle.size + asker.sending.size > fullest.idle.size + fullest.sending.size) fullest = asker
    const [victim] = fullest === null ? [] : fullest.idle.size > 0 ? fullest.idle : fullest.sending
    if (victim === undefined) return false
    forget(victim)
    victim.socket.destroy()
    return true
  }

  server.on('connection', (socket: Socket) => {
    const { remoteAddress } = socket
    // It has gone already, or nobody can be closed for it.
    if (remoteAddress === undefined || (connections.size >= most && !makeRoom())) {
      socket.destroy()
      return
    }
    const name = nameOf(socket)
    const before = connections.get(name)
    if (before !== undefined) forget(before)
    const asked = network(remoteAddress)
    const asker = askers.get(asked) ?? { idle: new Set(), sending: new Set(), open: 0 }
    askers.set(asked, asker)
    asker.open++
    const connection: Connection = { name, asked, socket, asker, doing: 'idle', requests: 0 }
    connections.set(name, connection)
    become(connection, 'idle')
    socket.once('close', () => forget(connection))
  })
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const connection = connections.get(nameOf(request.socket))
    if (connection === undefined) return
    connection.requests++
    const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers
    become(connection, length === '0' && coding === undefined ? 'answered' : 'sending')
    request.once('end', () => {
      if (connection.doing === 'sending' && connections.get(connection.name) === connection) become(connection, 'answered')
    })
    response.once('close', () => {
      connection.requests--
      if (connection.requests === 0 && connections.get(connection.name) === connection) become(connection, 'idle')
    })
  })
}

/** The same for the TCP socket and the TLS socket over it. */
function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
