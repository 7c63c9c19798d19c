import { hash, randomBytes } from 'node:crypto'
import type { Key } from './rendezvous.ts'

/** Of the beginning of a prompt. Longer beginnings tell more conversations apart; shorter ones keep more of them together. */
const prefixLength = 1024

/**
 * Where requests that begin alike go: an engine that has evaluated a beginning can go on from there. The key is drawn for each process and never leaves
 * it, and each tenant has places of its own: nobody can work out where another's requests go, nor be sent there by guessing how they begin.
 */
export class Affinity {
  readonly #key = randomBytes(32).toString('hex')

  /** Null for a request without a beginning. */
  of(tenant: string, body: Readonly<Record<string, unknown>>): Key | null {
    const prefix = prefixOf(body)
    return prefix === '' ? null : this.#keyed(`request ${tenant.length} ${tenant}${prefix}`)
  }

  ofWorker(keysetDigest: string): Key {
    return this.#keyed(`worker ${keysetDigest}`)
  }

  /**
   * SHA-256 over a secret of full length and the text. An HMAC takes ten times as long here, and would guard against extending a digest that is known:
   * these are cut to a quarter and never leave the process.
   */
  #keyed(text: string): Key {
    const digest = hash('sha256', `${this.#key} ${text}`)
    return { high: Number.parseInt(digest.slice(0, 8), 16) | 0, low: Number.parseInt(digest.slice(8, 16), 16) | 0 }
  }
}

/** The first characters of the messages, or of the prompt; nothing beyond them is looked at. */
export function prefixOf({ messages, prompt, instructions, input }: Readonly<Record<string, unknown>>): string {
  let text = ''
  const add = (part: unknown): void => {
    if (typeof part === 'string') text += `${part.slice(0, Math.max(0, prefixLength - text.length))}\n`
  }
  add(instructions)
  for (const list of [messages, input])
    if (typeof list === 'string') add(list)
    else if (Array.isArray(list))
      for (const message of list) {
        if (text.length >= prefixLength) break
        addMessage(message, add, () => text.length >= prefixLength)
      }
  add(prompt)
  return text
}

function addMessage(message: unknown, add: (part: unknown) => void, full: () => boolean): void {
  if (message === null || typeof message !== 'object') {
    add('?')
    return
  }
  const { role, content } = message as { readonly role?: unknown; readonly content?: unknown }
  add(typeof role === 'string' ? role : '?')
  for (const part of Array.isArray(content) ? content : [content]) {
    if (full()) return
    const inner: unknown = typeof part === 'string' ? part : part !== null && typeof part === 'object' && 'text' in part ? part.text : null
    add(typeof inner === 'string' ? inner : '?')
  }
}
