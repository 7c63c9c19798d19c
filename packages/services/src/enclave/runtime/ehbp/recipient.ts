import { createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type RecipientContext, recipientContext } from './key-schedule.ts'
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
  setup(enc: Uint8Array): RecipientContext
  /** Call once a frame has opened, and go on only for `new`. */
  accept(enc: Uint8Array): 'new' | 'seen' | 'full'
}

export function createRecipient(capacity: number = maxRequests): EhbpRecipient {
  return recipientOf(generateKeyPairSync('x25519').privateKey, capacity)
}

/** For test vectors: a key in use is generated, and its private half is never seen. */
export function recipientOf(privateKey: KeyObject, capacity: number = maxRequests): EhbpRecipient {
  const publicKey = new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32))
  const memory = new ReplayMemory(capacity)
  return {
    publicKey: toHex(publicKey),
    get worn() {
      return memory.size >= 0.75 * memory.capacity
    },
    setup: (enc) => recipientContext(agree(privateKey, enc), enc, publicKey),
    accept: (enc) => memory.accept(enc),
  }
}

/** SubjectPublicKeyInfo of an X25519 key up to its 32 bytes (RFC 8410), in base64. */
const spki = 'MCowBQYDK2VuAyEA'

function agree(privateKey: KeyObject, enc: Uint8Array): Uint8Array {
  if (enc.length !== 32) throw unusable()
  try {
    // As PEM, which Node takes in a third of the time that it takes for DER, of which it finds out by throwing that it is no key object.
    const publicKey = createPublicKey(`-----BEGIN PUBLIC KEY-----\n${spki}${Buffer.from(enc).toString('base64')}\n-----END PUBLIC KEY-----\n`)
    return diffieHellman({ privateKey, publicKey })
  } catch (cause) {
    // OpenSSL refuses a shared secret of zeros.
    throw unusable(cause)
  }
}

function unusable(cause?: unknown): Error {
  return fail('ehbp_malformed', 'expected an X25519 public key of 32 bytes that agrees on a secret', cause)
}
