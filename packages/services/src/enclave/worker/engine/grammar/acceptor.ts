import { fail, type VeriteeError } from 'veritee/errors'
import type { Grammar } from './grammar.ts'
import type { Node } from './graph.ts'

/** Where a call comes back to. Frames are shared, so equal ways of getting somewhere are one. */
interface Frame {
  readonly id: number
  readonly back: Node
  readonly parent: Frame | null
  readonly children: Map<Node, Frame>
}

interface Place {
  readonly node: Node & { readonly kind: 'bytes' }
  readonly frame: Frame | null
}

/** All places where a text may be, and where it goes from there by each byte. */
interface State {
  readonly places: readonly Place[]
  readonly complete: boolean
  readonly next: Map<number, State | null>
}

/** More places at once than a grammar of use has. Beyond it the answer fails; it is never left unconstrained. */
const maxPlaces = 256
/** Ways that are followed from one place to the next without a byte: where rules call rules in two ways each, they are as many as two to the depth. */
const maxFollowed = 10_000
/** The same over everything that is asked between one token of the answer and the next. */
const maxFollowedForToken = 250_000
/** Places, and frames, that are remembered for one answer. */
const maxRemembered = 100_000

/** Follows one text through a grammar, byte by byte. A pure function of grammar and text. Throws `engine_failed` for a grammar too ambiguous to follow. */
export class Acceptor {
  readonly #nodeCount: number
  readonly #top = new Map<Node, Frame>()
  readonly #states = new Map<string, State>()
  #frames = 0
  #remembered = 0
  #followed = 0
  #state: State

  constructor(grammar: Grammar) {
    this.#nodeCount = grammar.nodeCount
    this.#state = this.#close([[grammar.entry, null]])
  }

  /** The text so far is one that the grammar accepts. */
  get complete(): boolean {
    return this.#state.complete
  }

  /** Whether these bytes may come next. Any text that may begin can be completed. */
  allows(bytes: Uint8Array): boolean {
    let state: State | null = this.#state
    for (const byte of bytes) {
      state = this.#step(state, byte)
      if (state === null) return false
    }
    return true
  }

  /** Goes on with bytes that are allowed. Throws `TypeError` for others. */
  accept(bytes: Uint8Array): void {
    for (const byte of bytes) {
      const state = this.#step(this.#state, byte)
      if (state === null) throw new TypeError('acceptor: expected bytes that are allowed')
      this.#state = state
    }
    this.#followed = 0
    if (this.#remembered < maxRemembered) return
    this.#remembered = 0
    this.#states.clear()
    this.#top.clear()
    this.#state = { ...this.#state, next: new Map() }
  }

  #step(state: State, byte: number): State | null {
    const known = state.next.get(byte)
    if (known !== undefined) return known
    const starts: [Node, Frame | null][] = []
    for (const { node, frame } of state.places) if (node.set[byte] === 1) starts.push([node.next, frame])
    const next = starts.length === 0 ? null : this.#close(starts)
    state.next.set(byte, next)
    return next
  }

  /** The places that are reached from these without a byte. */
  #close(todo: [Node, Frame | null][]): State {
    const places: Place[] = []
    const seen = new Set<number>()
    let complete = false
    for (let item = todo.pop(); item !== undefined; item = todo.pop()) {
      const [node, frame] = item
      const key = (frame === null ? 0 : frame.id) * this.#nodeCount + node.id
      if (!node.live || seen.has(key)) continue
      seen.add(key)
      if (seen.size > maxFollowed || ++this.#followed > maxFollowedForToken) throw tooAmbiguous(`${maxFollowed} steps`)
      if (node.kind === 'bytes') places.push({ node, frame })
      else if (node.kind === 'split') for (const to of node.to) todo.push([to, frame])
      // A call at the end of a rule comes back to where the rule itself comes back to.
      else if (node.kind === 'call') todo.push([entryOf(node), node.next.kind === 'end' ? frame : this.#frame(frame, node.next)])
      else if (frame === null) complete = true
      else todo.push([frame.back, frame.parent])
    }
    if (places.length > maxPlaces) throw tooAmbiguous(`${maxPlaces} ways`)
    const keys = places.map(({ node, frame }) => (frame === null ? 0 : frame.id) * this.#nodeCount + node.id)
    const name = `${complete} ${keys.sort((a, b) => a - b).join(' ')}`
    const known = this.#states.get(name)
    if (known !== undefined) return known
    this.#remembered += places.length + 1
    const state: State = { places, complete, next: new Map() }
    this.#states.set(name, state)
    return state
  }

  #frame(parent: Frame | null, back: Node): Frame {
    const siblings = parent === null ? this.#top : parent.children
    const known = siblings.get(back)
    if (known !== undefined) return known
    this.#remembered++
    const frame: Frame = { id: ++this.#frames, back, parent, children: new Map() }
    siblings.set(back, frame)
    return frame
  }
}

function tooAmbiguous(most: string): VeriteeError {
  return fail('engine_failed', `expected a grammar with at most ${most} to go on at once`)
}

function entryOf({ rule }: Node & { readonly kind: 'call' }): Node {
  if (rule.entry === null) throw new TypeError('acceptor: expected a finished grammar')
  return rule.entry
}
