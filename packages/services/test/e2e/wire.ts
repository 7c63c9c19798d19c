import { connect as connectSocket, createServer, type Server } from 'node:net'

export interface Forwarder {
  readonly port: number
  /** From now on only so many bytes more pass towards the controller: then every connection ends, and none is made until `mend`. */
  cutAfter(bytes: number): void
  mend(): void
  close(): void
}

/** A TCP forwarder: TLS still ends in the worker's enclave, but the wire is ours. */
export async function forwarder(port: number): Promise<Forwarder> {
  const pairs = new Set<() => void>()
  let left = Number.POSITIVE_INFINITY
  const cut = (): void => {
    for (const end of [...pairs]) end()
  }
  const server: Server = createServer((inner) => {
    if (left <= 0) {
      inner.destroy()
      return
    }
    const outer = connectSocket(port, '127.0.0.1')
    const end = (): void => {
      inner.destroy()
      outer.destroy()
      pairs.delete(end)
    }
    pairs.add(end)
    inner.on('error', end).on('close', end).pipe(outer)
    outer
      .on('error', end)
      .on('close', end)
      .on('data', (chunk: Buffer) => {
        if (left <= 0) return
        const passing = chunk.subarray(0, Math.min(chunk.length, left))
        left -= passing.length
        if (left > 0) inner.write(passing)
        else inner.write(passing, cut)
      })
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    cutAfter: (bytes) => {
      left = bytes
    },
    mend: () => {
      left = Number.POSITIVE_INFINITY
    },
    close: () => {
      cut()
      server.close()
    },
  }
}
