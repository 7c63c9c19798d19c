import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Linked, LinkedList } from '../enclave/runtime/linked-list.ts'
import { network } from './rate-limit.ts'
import { followWaiting } from './waiting.ts'

/** What a connection is about: nothing yet, or nothing any more; requests that all wait for their requester; an answer, beside whatever else. */
type Doing = 'idle' | 'waiting' | 'answered'

class Connection extends Linked {
  readonly name: string
  readonly asked: string
  readonly socket: Socket
  readonly asker: Asker
  doing: Doing = 'answered'
  /** Requests whose answer is not over, and those among them that wait for their requester. */
  requests = 0
  waiting = 0
  /** It counts no longer. */
  forgotten = false

  constructor(name: string, asked: string, socket: Socket, asker: Asker) {
    super()
    this.name = name
    this.asked = asked
    this.socket = socket
    this.asker = asker
  }

  /** After a change of its numbers. */
  look(): void {
    if (this.forgotten) return
    const doing = this.requests === 0 ? 'idle' : this.waiting === this.requests ? 'waiting' : 'answered'
    if (doing !== this.doing) this.become(doing)
  }

  become(doing: Doing): void {
    if (this.doing !== 'answered') this.asker[this.doing].remove(this)
    if (doing !== 'answered') this.asker[doing].add(this)
    this.doing = doing
  }
}

const counted = Symbol('counted')

type Counted = Socket & { [counted]?: Connection | undefined }

/** The connections of one network that may be closed for others, those that have been so for longest first. */
interface Asker {
  readonly idle: LinkedList<Connection>
  readonly waiting: LinkedList<Connection>
  open: number
}

/**
 * Bounds the connections of a server. Where there are as many as there may be, one that waits is closed for the one that comes: of the network that has most
 * of those, the one that has been idle for longest, else the one that has waited for its requester for longest. One that is being answered is never closed;
 * where all are, the one that comes is. So whoever opens connections and leaves them closes his own. Gives what closes all of them.
 */
export function boundConnections(server: Server, most: number): () => void {
  const askers = new Map<string, Asker>()
  const connections = new Map<string, Connection>()

  const forget = (connection: Connection): void => {
    if (connection.forgotten) return
    connection.forgotten = true
    connections.delete(connection.name)
    connection.become('answered')
    if (--connection.asker.open === 0) askers.delete(connection.asked)
  }

  const makeRoom = (): boolean => {
    let fullest: Asker | null = null
    for (const asker of askers.values())
      if (fullest === null || asker.idle.length + asker.waiting.length > fullest.idle.length + fullest.waiting.length) fullest = asker
    const victim = fullest?.idle.first ?? fullest?.waiting.first ?? null
    if (victim === null) return false
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
    const asker = askers.get(asked) ?? { idle: new LinkedList(), waiting: new LinkedList(), open: 0 }
    askers.set(asked, asker)
    asker.open++
    const connection = new Connection(name, asked, socket, asker)
    connections.set(name, connection)
    connection.become('idle')
    socket.once('close', () => forget(connection))
  })
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const socket: Counted = request.socket
    // Where TLS is on, it is another socket than the one that was counted.
    socket[counted] ??= connections.get(nameOf(socket))
    const connection = socket[counted]
    if (connection === undefined || connection.forgotten || response.destroyed) return
    connection.requests++
    followWaiting(
      request,
      response,
      (waits) => {
        connection.waiting += waits ? 1 : -1
        connection.look()
      },
      () => {
        connection.requests--
        connection.look()
      },
    )
    connection.look()
  })
  return () => {
    for (const { socket } of connections.values()) socket.destroy()
  }
}

/** The same for the TCP socket and the TLS socket over it. */
function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
