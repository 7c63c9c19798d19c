import type { IncomingMessage } from 'node:http'
import { fromHex, isHex, toHex, utf8 } from 'veritee/bytes'
import { type SigningKey, verifyEd25519 } from 'veritee/crypto'
import { readRequestBody } from '../../http/body.ts'

export const announcementHeader = 'x-veritee-asker'
const announced = 'veritee.confirmation-announcement.v1\n'

/** What a validator says of itself before its body: `KEY.DIGEST.SIGNATURE`: the digest of that body (`sha256:` and hex), key and signature over it hex. */
export async function announcementOf(digest: string, key: SigningKey): Promise<string> {
  return `${toHex(key.publicKey)}.${digest}.${toHex(await key.sign(utf8(announced + digest)))}`
}

/** Which of `validators` announces a body; null where none does. That the body has that digest nobody looks at: it is bounded, and its own signature says whose it is. */
export async function announcedBy(header: string | string[] | undefined, validators: readonly string[]): Promise<string | null> {
  const [validator = '', digest = '', signature = ''] = typeof header === 'string' ? header.split('.', 4) : []
  if (!validators.includes(validator) || !/^sha256:[0-9a-f]{64}$/.test(digest) || !isHex(signature, 64)) return null
  return (await verifyEd25519(fromHex(validator), fromHex(signature), utf8(announced + digest))) ? validator : null
}

export interface LaneLimits {
  /** Bodies of one validator that are read at a time, and those of all others together. */
  readonly validator: number
  readonly strangers: number
  /** Milliseconds until a body must have come as a whole. */
  readonly bodyMs: number
}

const usual: LaneLimits = { validator: 2, strangers: 4, bodyMs: 30_000 }

/**
 * Room for bodies that are being read. Behind a proxy all have one address, so that slow bodies of one could take the room of all; here each validator of the policy has a lane of its own, and whoever is none has one with all
 * others of the kind. Where a lane is full the body that began first gives way: one who sends it again and again, after another, cannot keep the one out that sends it at once.
 */
export class Lanes {
  readonly #limits: LaneLimits
  readonly #open = new Map<string, Set<IncomingMessage>>()

  constructor(limits: LaneLimits = usual) {
    this.#limits = limits
  }

  /** The body of a request. `validator`: whose lane it takes; null for strangers. Throws what `readRequestBody` throws; a body that gives way, or takes too long, broke off. */
  async read(request: IncomingMessage, validator: string | null, maxBytes: number): Promise<Uint8Array> {
    const name = validator ?? ''
    const lane = this.#open.get(name) ?? new Set()
    this.#open.set(name, lane)
    const [oldest] = lane
    if (oldest !== undefined && lane.size >= (validator === null ? this.#limits.strangers : this.#limits.validator)) {
      lane.delete(oldest)
      oldest.destroy()
    }
    lane.add(request)
    const timer = setTimeout(() => request.destroy(), this.#limits.bodyMs)
    try {
      return await readRequestBody(request, maxBytes)
    } finally {
      clearTimeout(timer)
      lane.delete(request)
      if (lane.size === 0 && this.#open.get(name) === lane) this.#open.delete(name)
    }
  }
}
