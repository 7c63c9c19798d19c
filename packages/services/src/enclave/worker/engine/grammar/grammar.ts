import { GrammarError, type GraphBuilder, type Node, type Rule } from './graph.ts'

/** A grammar that can be followed: every beginning of a text that it accepts can be completed. */
export interface Grammar {
  readonly entry: Node
  readonly nodeCount: number
}

/**
 * Checks a finished graph. What can never be completed is marked and not entered later. Throws {@link GrammarError} when nothing can be
 * completed, and for rules that begin with themselves.
 */
export function finishGrammar(graph: GraphBuilder, root: Rule): Grammar {
  markLive(graph.nodes)
  if (root.entry?.live !== true) throw new GrammarError('no text satisfies it: it can never end')
  refuseLeftRecursion(graph.nodes)
  return { entry: root.entry, nodeCount: graph.nodes.length }
}

/** In time linear in the graph, however its rules lean on each other: a request brings them, and nothing else runs meanwhile. */
function markLive(nodes: readonly Node[]): void {
  const waiting = new Map<Node, Node[]>()
  const mark = (first: Node): void => {
    const todo = [first]
    for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
      if (node.live || !canEnd(node)) continue
      node.live = true
      todo.push(...(waiting.get(node) ?? []))
    }
  }
  // Parts are built from their end, so most of them need not wait.
  for (const node of nodes) {
    mark(node)
    if (node.live) continue
    for (const other of needs(node)) {
      const those = waiting.get(other)
      if (those === undefined) waiting.set(other, [node])
      else those.push(node)
    }
  }
}

function canEnd(node: Node): boolean {
  if (node.kind === 'end') return true
  if (node.kind === 'split') return node.to.some(({ live }) => live)
  if (node.kind === 'call') return node.next.live && node.rule.entry?.live === true
  return node.next.live && node.set.includes(1)
}

/** The nodes that {@link canEnd} looks at. */
function needs(node: Node): readonly Node[] {
  if (node.kind === 'end') return []
  if (node.kind === 'split') return node.to
  return node.kind === 'call' && node.rule.entry !== null ? [node.next, node.rule.entry] : [node.next]
}

/** A rule that comes to itself without a byte between would be entered for ever. */
function refuseLeftRecursion(nodes: readonly Node[]): void {
  const left = enteredWithoutByte(new Set(nodes.flatMap((node) => (node.kind === 'call' ? [node.rule] : []))))
  const done = new Set<Rule>()
  const onPath = new Set<Rule>()
  const visit = (rule: Rule): void => {
    if (done.has(rule)) return
    if (onPath.has(rule)) throw new GrammarError('a rule begins with itself')
    onPath.add(rule)
    for (const called of left.get(rule) ?? []) visit(called)
    onPath.delete(rule)
    done.add(rule)
  }
  for (const rule of left.keys()) visit(rule)
}

/** Which rules are entered from each without any byte. What follows a call waits until the rule called is known to have an empty text. */
function enteredWithoutByte(rules: ReadonlySet<Rule>): ReadonlyMap<Rule, ReadonlySet<Rule>> {
  const calls = new Map([...rules].map((rule) => [rule, new Set<Rule>()]))
  const empty = new Set<Rule>()
  const waiting = new Map<Rule, (readonly [Rule, Node])[]>()
  // The nodes of one rule are reached from its entry only.
  const seen = new Set<Node>()
  const todo = [...rules].flatMap((rule): (readonly [Rule, Node])[] => (rule.entry === null ? [] : [[rule, rule.entry]]))
  for (let item = todo.pop(); item !== undefined; item = todo.pop()) {
    const [rule, node] = item
    if (node.kind === 'end') {
      if (empty.has(rule)) continue
      empty.add(rule)
      todo.push(...(waiting.get(rule) ?? []))
    } else if (!seen.has(node) && node.live) {
      seen.add(node)
      if (node.kind === 'split') for (const to of node.to) todo.push([rule, to])
      if (node.kind !== 'call') continue
      calls.get(rule)?.add(node.rule)
      if (empty.has(node.rule)) todo.push([rule, node.next])
      else if (!waiting.get(node.rule)?.push([rule, node.next])) waiting.set(node.rule, [[rule, node.next]])
    }
  }
  return calls
}
