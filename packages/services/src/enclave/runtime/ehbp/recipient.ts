import { toHex } from 'veritee/bytes'
import { generateX25519 } from 'veritee/crypto'
import { type HpkeContext, setupRecipient } from 'veritee/ehbp'
import { ReplayMemory } from './replay-memory.ts'

/** Requests under one key. Beyond it the enclave has new keys, or answers that it needs them. */
const maxRequests = 1 << 21

/** The private key of an enclave to which bodies are encrypted, and what it remembers so that none is opened twice. */
export interface EhbpRecipient {
  /** 64 hex digits. */
  readonly publicKey: string
  /** True once new keys should be made: the memory is three quarters full. */
  readonly worn: boolean
  /** Throws `ehbp_malformed`. That a context was set up shows nothing yet: what was sealed to another key then opens no frame. */
  setup(enc: Uint8Array): Promise<HpkeContext>
  /** Call once a frame has opened, and go on only for `new`. */
  accept(enc: Uint8Array): 'new' | 'seen' | 'full'
}

export async function createRecipient(capacity: number = maxRequests): Promise<EhbpRecipient> {
  const key = await generateX25519()
  const memory = new ReplayMemory(capacity)
  return {
    publicKey: toHex(key.publicKey),
    get worn() {
      return memory.size >= 0.75 * memory.capacity
    },
    setup: (enc) => setupRecipient(key, enc),
    accept: (enc) => memory.accept(enc),
  }
}
