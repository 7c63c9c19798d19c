import { subtle } from 'node:crypto'
import { chunkNonce, type FileKey } from 'veritee/seal'

/** The chunks of one file. Its work is done on the threads of the pool, so several at once are done by several cores. */
export interface ChunkCipher {
  seal(index: number, last: boolean, plain: Uint8Array): Promise<Uint8Array>
  /** null where the tag does not hold. */
  open(index: number, last: boolean, sealed: Uint8Array): Promise<Uint8Array | null>
}

const name = 'AES-GCM'

export async function chunkCipher({ key, noncePrefix }: FileKey): Promise<ChunkCipher> {
  const imported = await subtle.importKey('raw', own(key), name, false, ['encrypt', 'decrypt'])
  const how = (index: number, last: boolean): { name: string; iv: Uint8Array<ArrayBuffer>; tagLength: number } => ({
    name,
    iv: own(chunkNonce(noncePrefix, index, last)),
    tagLength: 128,
  })
  return {
    seal: async (index, last, plain) => new Uint8Array(await subtle.encrypt(how(index, last), imported, own(plain))),
    open: async (index, last, sealed) => {
      try {
        return new Uint8Array(await subtle.decrypt(how(index, last), imported, own(sealed)))
      } catch (error) {
        if (error instanceof DOMException && error.name === 'OperationError') return null
        throw error
      }
    },
  }
}

/**
 * Overwrites bytes that a cipher made and gives their memory back at once. Left to the collector, hundreds of chunks would be in memory, and each new one
 * would cost fresh pages: that halves the speed. Whoever still holds the bytes finds none.
 */
export function release(bytes: Uint8Array): void {
  bytes.fill(0)
  own(bytes).buffer.transfer(0)
}

/** Nothing here is shared between threads; the type cannot know. */
function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>
}
