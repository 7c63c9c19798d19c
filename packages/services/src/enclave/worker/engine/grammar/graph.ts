/**
 * Grammars over bytes as graphs. A node says what may come next; a call goes through a rule and comes back. Context-free, so nesting needs no bound,
 * and nothing here depends on a vocabulary.
 */
export type Node =
  | { readonly kind: 'bytes'; readonly id: number; readonly set: ByteSet; readonly next: Node; live: boolean }
  | { readonly kind: 'call'; readonly id: number; readonly rule: Rule; readonly next: Node; live: boolean }
  | { readonly kind: 'split'; readonly id: number; readonly to: Node[]; live: boolean }
  | { readonly kind: 'end'; readonly id: number; live: boolean }

/** 1 for each byte that is in the set. */
export type ByteSet = Uint8Array

export interface Rule {
  entry: Node | null
}

/** A piece of a grammar: given what follows it, the node at which it begins. */
export type Part = (next: Node) => Node

/** What was asked for is no grammar, or one that cannot be followed. The message names no text of a client. */
export class GrammarError extends Error {
  override readonly name: string = 'GrammarError'
}

/** Bounds the memory of one request's grammar. */
const maxNodes = 50_000

/** Builds the nodes of one grammar. Throws {@link GrammarError} when it grows beyond its bound. */
export class GraphBuilder {
  readonly #nodes: Node[] = []
  readonly end: Node = this.#add({ kind: 'end', id: 0, live: true })

  #add<T extends Node>(node: T): T {
    if (this.#nodes.length >= maxNodes) throw new GrammarError(`expected a grammar of at most ${maxNodes} nodes`)
    this.#nodes.push(node)
    return node
  }

  get nodes(): readonly Node[] {
    return this.#nodes
  }

  byte(set: ByteSet): Part {
    return (next) => this.#add({ kind: 'bytes', id: this.#nodes.length, set, next, live: false })
  }

  call(rule: Rule): Part {
    return (next) => this.#add({ kind: 'call', id: this.#nodes.length, rule, next, live: false })
  }

  /** A node whose alternatives are filled in by the caller, for loops. */
  split(to: Node[]): Node & { readonly kind: 'split' } {
    return this.#add({ kind: 'split', id: this.#nodes.length, to, live: false })
  }

  bytes(text: Uint8Array): Part {
    return (next) => text.reduceRight<Node>((node, byte) => this.byte(oneByte(byte))(node), next)
  }

  text(text: string): Part {
    return this.bytes(new TextEncoder().encode(text))
  }

  any(...parts: readonly Part[]): Part {
    return (next) => this.split(parts.map((part) => part(next)))
  }

  /** One of these texts. Common beginnings are shared, so that many of them are followed as one. */
  oneOf(texts: readonly string[]): Part {
    return (next) =>
      this.#trie(
        [...new Set(texts)].map((text) => new TextEncoder().encode(text)),
        0,
        next,
      )
  }

  #trie(texts: readonly Uint8Array[], at: number, next: Node): Node {
    const byFirst = new Map<number, Uint8Array[]>()
    const to: Node[] = []
    for (const text of texts) {
      const byte = text[at]
      if (byte === undefined) to.push(next)
      // Not a list made anew for each text: a thousand of them that begin alike come by here once for every byte.
      else if (!byFirst.get(byte)?.push(text)) byFirst.set(byte, [text])
    }
    for (const [byte, group] of byFirst) {
      const [only] = group
      const rest = group.length === 1 && only !== undefined ? this.bytes(only.subarray(at + 1))(next) : this.#trie(group, at + 1, next)
      to.push(this.byte(oneByte(byte))(rest))
    }
    return this.split(to)
  }

  optional(part: Part): Part {
    return (next) => this.split([part(next), next])
  }

  /** `max` null: without bound. */
  repeat(part: Part, min: number, max: number | null): Part {
    return (next) => {
      let node: Node
      if (max === null) {
        const loop = this.split([])
        loop.to.push(part(loop), next)
        node = loop
      } else {
        node = next
        for (let i = min; i < max; i++) node = this.split([part(node), next])
      }
      for (let i = 0; i < min; i++) node = part(node)
      return node
    }
  }

  /** A rule for one part. */
  rule(part: Part): Rule {
    return { entry: part(this.end) }
  }
}

export function sequence(...parts: readonly Part[]): Part {
  return (next) => parts.reduceRight((node, part) => part(node), next)
}

export const nothing: Part = (next) => next

const single = Array.from({ length: 256 }, (_, byte) => byteSet([byte, byte]))

/** One for all nodes: most nodes are bytes of a text, and a grammar waits in memory for its turn. */
function oneByte(byte: number): ByteSet {
  return single[byte] ?? byteSet([byte, byte])
}

/** The bytes of inclusive ranges. */
export function byteSet(...ranges: readonly (readonly [low: number, high: number])[]): ByteSet {
  const set = new Uint8Array(256)
  for (const [low, high] of ranges) set.fill(1, low, high + 1)
  return set
}
