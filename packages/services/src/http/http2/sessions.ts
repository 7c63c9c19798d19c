import { constants, type Http2SecureServer, type ServerHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { controlFrames, ofRequesters, ofStrangers, ofTrusted, partingMs, type Rate, requestersResets, strangersResets } from './limits.ts'
import { setConnection, wasLeft } from './messages.ts'
import { letGoOfSession } from './session-error.ts'

export interface SessionTimes {
  /** Until the first request. */
  readonly headersMs: number
  /** After the last. */
  readonly keepAliveMs: number
  /** See `takenWithin`. */
  readonly takenMs: number
}

/** Whether the other side of a connection has shown a key that counts. It may not count yet when the connection is opened. */
export type Trusts = (connection: { readonly socket: TLSSocket }) => boolean

/**
 * To whom HTTP/2 is offered: at a worker with much to whom it trusts and with little to anybody else, at a controller to requesters, who are all alike.
 * `onlyTrusted`: who has not shown a key that counts when the connection is opened has not a frame of it read, and is cut. Most faults that let a stranger end or fill a process of Node are in what reads frames.
 */
export type Offer = { readonly trusts: Trusts; readonly onlyTrusted?: true } | 'requesters'

const self = Symbol('self')

/** A session has a proxy of its socket, which passes properties on. */
type Known = TLSSocket & { [self]?: TLSSocket }

/**
 * What Node's server of HTTP/2 does not do for its connections: those of strangers have few streams, and those that are trusted more, from their first SETTINGS on where that is known then, as long as that lasts.
 * One over which no request comes is ended, whatever else comes over it; one that sends without end what costs more than it is, is cut.
 */
export function guardSessions(server: Http2SecureServer, offer: Offer, { headersMs, keepAliveMs, takenMs }: SessionTimes): void {
  const {
    trusts,
    settings,
    resets: resetsOf,
  } = offer === 'requesters'
    ? { trusts: () => false, settings: ofRequesters, resets: requestersResets }
    : { ...offer, settings: ofStrangers, resets: strangersResets }
  if (offer !== 'requesters' && offer.onlyTrusted === true) admitFirst(server, offer.trusts)
  // The session is made by Node's own listener, with the settings that are in force at that moment.
  server.prependListener('secureConnection', (socket: Known) => {
    if (socket.alpnProtocol !== 'h2') return
    socket[self] = socket
    server.updateSettings(trusts({ socket }) ? ofTrusted : settings)
  })
  server.on('sessionError', letGoOfSession)
  server.on('session', (session) => {
    const socket = (session.socket as Known)[self]
    if (socket === undefined) return session.destroy()
    const carrier = { socket, takenMs }
    const end = (): void => part(session, socket)
    let idle = setTimeout(end, headersMs)
    let open = 0
    let trusted = trusts({ socket })
    const cutWhereNone = (allowance: Allowance): void => {
      if (!allowance.take()) session.destroy(new Error('too much of what costs more than it is'), constants.NGHTTP2_ENHANCE_YOUR_CALM)
    }
    const resets = new Allowance(resetsOf)
    session.prependListener('stream', (stream) => {
      setConnection(stream, carrier)
      if (open++ === 0) clearTimeout(idle)
      stream.once('close', () => {
        open--
        if (!trusted && wasLeft(stream)) cutWhereNone(resets)
        // Also where the session has ended: its socket waits for the other side to take what was sent before.
        if (open === 0 && !socket.destroyed) idle = setTimeout(end, keepAliveMs)
      })
      if (session.destroyed) return
      const before = trusted
      trusted = trusts({ socket })
      if (trusted && !before) session.settings(ofTrusted)
      // It keeps what it was given, so it ends with what is under way; the next one is a stranger's.
      if (before && !trusted) session.close()
    })
    const frames = new Allowance(controlFrames)
    session.on('ping', () => cutWhereNone(frames))
    session.on('remoteSettings', () => cutWhereNone(frames))
    session.once('close', () => clearTimeout(idle))
  })
}

/** Node's own listener, which makes the session and reads from it, is called for whom it may be. */
function admitFirst(server: Http2SecureServer, trusts: Trusts): void {
  const own = server.listeners('secureConnection')
  server.removeAllListeners('secureConnection')
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol === 'h2' && !trusts({ socket })) socket.destroy()
    else for (const listener of own) listener.call(server, socket)
  })
}

/** Tells the other side to send no more, and waits a little for it to have heard. */
function part(session: ServerHttp2Session, socket: TLSSocket): void {
  session.close()
  const timer = setTimeout(() => socket.destroy(), partingMs)
  socket.once('close', () => clearTimeout(timer))
}

class Allowance {
  readonly #rate: Rate
  #left: number
  #at = performance.now()

  constructor(rate: Rate) {
    this.#rate = rate
    this.#left = rate.burst
  }

  take(): boolean {
    const { burst, perSecond } = this.#rate
    const now = performance.now()
    this.#left = Math.min(burst, this.#left + ((now - this.#at) * perSecond) / 1000)
    this.#at = now
    return --this.#left >= 0
  }
}
