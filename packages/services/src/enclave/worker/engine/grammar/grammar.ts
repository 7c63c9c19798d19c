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

function markLive(nodes: readonly Node[]): void {
  for (let changed = true; changed; ) {
    changed = false
    // Parts are built from their end, so most of a chain is marked in one pass.
    for (const node of nodes) {
      if (node.live || !canEnd(node)) continue
      node.live = true
      changed = true
    }
  }
}

function canEnd(node: Node): boolean {
  if (node.kind === 'end') return true
  if (node.kind === 'split') return node.to.some(({ live }) => live)
  if (node.kind === 'call') return node.next.live && node.rule.entry?.live === true
  return node.next.live && node.set.includes(1)
}

/** A rule that comes to itself without a byte between would be entered for ever. */
function refuseLeftRecursion(nodes: readonly Node[]): void {
  const empty = new Map<Rule, boolean>()
  const rules = new Set(nodes.flatMap((node) => (node.kind === 'call' ? [node.rule] : [])))
  for (let changed = true; changed; ) {
    changed = false
    for (const rule of rules) {
      if (empty.get(rule) === true || !reaches(rule, empty).ends) continue
      empty.set(rule, true)
      changed = true
    }
  }
  const left = new Map([...rules].map((rule) => [rule, reaches(rule, empty).calls]))
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
  for (const rule of rules) visit(rule)
}

/** Without any byte: which rules are entered from this one, and whether its end is reached. */
function reaches(rule: Rule, empty: ReadonlyMap<Rule, boolean>): { readonly calls: ReadonlySet<Rule>; readonly ends: boolean } {
  const calls = new Set<Rule>()
  const seen = new Set<Node>()
  let ends = false
  const todo = rule.entry === null ? [] : [rule.entry]
  for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
    if (seen.has(node) || !node.live) continue
    seen.add(node)
    if (node.kind === 'end') ends = true
    else if (node.kind === 'split') todo.push(...node.to)
    else if (node.kind === 'call') {
      calls.add(node.rule)
      if (empty.get(node.rule) === true) todo.push(node.next)
    }
  }
  return { calls, ends }
}
