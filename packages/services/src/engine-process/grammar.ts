import type { Grammar } from '../enclave/worker/engine/grammar/grammar.ts'
import type { ByteSet, Node, Rule } from '../enclave/worker/engine/grammar/graph.ts'

/** A grammar as a list of its nodes, which name each other by place: a graph of thousands in a row is too deep for any serializer. */
export interface FlatGrammar {
  readonly nodeCount: number
  readonly entry: number
  readonly nodes: readonly FlatNode[]
  /** The node at which each rule begins. */
  readonly rules: readonly (number | null)[]
  /** Sets of bytes, each once. */
  readonly sets: readonly ByteSet[]
}

type FlatNode =
  | { readonly kind: 'bytes'; readonly id: number; readonly live: boolean; readonly set: number; readonly next: number }
  | { readonly kind: 'call'; readonly id: number; readonly live: boolean; readonly rule: number; readonly next: number }
  | { readonly kind: 'split'; readonly id: number; readonly live: boolean; readonly to: readonly number[] }
  | { readonly kind: 'end'; readonly id: number; readonly live: boolean }

export function flatten({ entry, nodeCount }: Grammar): FlatGrammar {
  const found: Node[] = []
  const places = new Map<Node, number>()
  const rules: Rule[] = []
  const rulePlaces = new Map<Rule, number>()
  const sets: ByteSet[] = []
  const setPlaces = new Map<string, number>()
  const place = (node: Node): number => {
    const known = places.get(node)
    if (known !== undefined) return known
    places.set(node, found.length)
    return found.push(node) - 1
  }
  const rulePlace = (rule: Rule): number => {
    const known = rulePlaces.get(rule)
    if (known !== undefined) return known
    rulePlaces.set(rule, rules.length)
    if (rule.entry !== null) place(rule.entry)
    return rules.push(rule) - 1
  }
  const setPlace = (set: ByteSet): number => {
    const key = Buffer.from(set.buffer, set.byteOffset, set.length).toString('latin1')
    const known = setPlaces.get(key)
    if (known !== undefined) return known
    setPlaces.set(key, sets.length)
    return sets.push(set) - 1
  }
  place(entry)
  const nodes: FlatNode[] = []
  // It grows while it is gone through.
  for (const node of found) {
    const { id, live } = node
    if (node.kind === 'bytes') nodes.push({ kind: 'bytes', id, live, set: setPlace(node.set), next: place(node.next) })
    else if (node.kind === 'call') nodes.push({ kind: 'call', id, live, rule: rulePlace(node.rule), next: place(node.next) })
    else if (node.kind === 'split') nodes.push({ kind: 'split', id, live, to: node.to.map(place) })
    else nodes.push({ kind: 'end', id, live })
  }
  return { nodeCount, entry: 0, nodes, rules: rules.map(({ entry: first }) => (first === null ? null : place(first))), sets }
}

/** What {@link flatten} made; throws `TypeError` for anything else. */
export function unflatten(flat: FlatGrammar): Grammar {
  const at = <T>(list: readonly T[], index: number): T => {
    const item = list[index]
    if (item === undefined) throw new TypeError('grammar: no such place')
    return item
  }
  const rules = flat.rules.map((): Rule => ({ entry: null }))
  // Nodes refer to nodes that are made after them, so what they refer to is filled in when all are there.
  const made = flat.nodes.map(({ kind, id, live }) => ({ kind, id, live }) as { -readonly [K in keyof Node]: Node[K] } & Record<string, unknown>)
  const nodes = made as unknown as readonly Node[]
  for (const [i, node] of flat.nodes.entries()) {
    const own = at(made, i)
    if (node.kind === 'bytes') Object.assign(own, { set: at(flat.sets, node.set), next: at(nodes, node.next) })
    else if (node.kind === 'call') Object.assign(own, { rule: at(rules, node.rule), next: at(nodes, node.next) })
    else if (node.kind === 'split') Object.assign(own, { to: node.to.map((one) => at(nodes, one)) })
  }
  for (const [i, first] of flat.rules.entries()) if (first !== null) at(rules, i).entry = at(nodes, first)
  return { nodeCount: flat.nodeCount, entry: at(nodes, flat.entry) }
}
