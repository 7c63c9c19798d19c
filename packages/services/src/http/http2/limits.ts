import type { SecureServerOptions, Settings } from 'node:http2'

/** As for HTTP/1.1. Here each field counts 32 bytes more than its name and value have (RFC 9113, section 6.5.2). */
export const maxHeaderList = 16_384

/**
 * What a connection may have whose other side is nobody in particular: hardly more memory than one of HTTP/1.1 takes, which has one request, 16 KiB of headers and a buffer of 64 KiB for
 * what nobody has read yet. Four streams are enough to ask for proofs.
 */
export const ofStrangers: Settings = {
  enablePush: false,
  maxConcurrentStreams: 4,
  initialWindowSize: 16_384,
  maxHeaderListSize: maxHeaderList,
}

/**
 * One who has shown a key that counts here carries the requests of many: as many as an engine has places and queue for, and some more, since a stream that is refused counts against
 * the connection of all others. What nobody has read yet is 64 MiB at most, on one of a handful of connections; a body that is read counts where all bodies do.
 *
 * The window of the connection stays as it begins, 64 KiB for what is on its way here over all streams; Node opens it again for every byte that has come, read or not. Node reads nothing from a connection while it has a
 * write under way, and its clients neither: where bodies and answers fill what both kernels hold, both wait for each other until one gives up. So little fits in, and whoever sends it reads on.
 */
export const ofTrusted: Settings = { ...ofStrangers, maxConcurrentStreams: 256, initialWindowSize: 1 << 18 }

/**
 * Requesters of a controller, who are all strangers, have what every client and proxy expects of a service, so that an application or a page needs one connection. What their streams take
 * is bounded over all connections (see `Places`): as many streams as there may be connections, each with less than a connection takes. A body has as much on its way as over any other
 * service; with a window as narrow as that of strangers one of 8 MiB from the other side of the world would come too late.
 */
export const ofRequesters: Settings = { ...ofStrangers, maxConcurrentStreams: 100, initialWindowSize: 65_535 }

/** So many at once, then so many a second. */
export interface Rate {
  readonly burst: number
  readonly perSecond: number
}

/** PING and SETTINGS frames, each of which is answered. Those of a controller are one in some seconds. */
export const controlFrames: Rate = { burst: 200, perSecond: 10 }

/**
 * Streams of a stranger that end before their answer, whoever resets them: such a stream has given its place to the next, so that their number alone would not bound what is begun. For
 * those who are trusted {@link sessionLimits} has a bound that is no burden.
 */
export const strangersResets: Rate = { burst: 100, perSecond: 10 }

/** The same for requesters, of whom many may share a connection, and leave at once with whoever had it for them. */
export const requestersResets: Rate = { burst: 200, perSecond: 20 }

/** How long an answer that has ended may take to go out: this, and a second for every 16 KiB of it. It would be held for as long as its reader likes. */
export const takenWithin = { ms: 60_000, bytesPerSecond: 16_384 } as const

/** Of a connection that was told to end, until it is cut. */
export const partingMs = 1_000

export const sessionLimits: Pick<
  SecureServerOptions,
  'maxSessionMemory' | 'maxSessionInvalidFrames' | 'maxSessionRejectedStreams' | 'streamResetBurst' | 'streamResetRate' | 'maxHeaderListPairs'
> = {
  /**
   * In MB: none. Counts what waits to be sent, and plain answers wait as a whole, each up to 64 MB of embeddings; what was given up with its stream Node counts for as long as the connection
   * lives. At the bound new streams are refused, and the connection ends after some. What is held is bounded by streams at a time.
   */
  maxSessionMemory: 1_000_000_000,
  /** Frames against the protocol, and empty ones, in the life of a connection. */
  maxSessionInvalidFrames: 100,
  /** One after the other. */
  maxSessionRejectedStreams: 100,
  /**
   * Streams that the other side resets. A controller does so for every client who leaves, of whom many may leave at once, and the connection that ends for it has the answers of others. What
   * was begun is aborted.
   */
  streamResetBurst: 10_000,
  streamResetRate: 2_000,
  maxHeaderListPairs: 128,
}
