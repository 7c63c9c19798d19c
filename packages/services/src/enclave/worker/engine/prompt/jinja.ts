import { Environment, Interpreter, Template } from '@huggingface/jinja'

/** Numbers that all ranges of one rendering may give together. */
const maxRange = 10_000
/** What one rendering may cost: each evaluation of an expression counts one, more where it gives a long list or a long text. A thousand messages take a fifth. */
const maxCost = 500_000
const itemsForOne = 16
const charactersForOne = 1024

/** What is used of the package's interpreter: it calls its own `evaluate` for every node. */
interface Evaluating {
  evaluate(statement: unknown, environment: unknown): { readonly value: unknown }
  run(program: unknown): { readonly value: unknown }
}

/** A template is the model file's, and nothing else runs while it does: it must come to an end. */
function bounded(interpreter: Evaluating): Evaluating {
  const evaluate = interpreter.evaluate.bind(interpreter)
  let cost = 0
  interpreter.evaluate = (statement, environment) => {
    const result = evaluate(statement, environment)
    const { value } = result
    if (Array.isArray(value)) cost += value.length / itemsForOne
    else if (typeof value === 'string') cost += value.length / charactersForOne
    if (++cost > maxCost) throw new Error('the template does too much')
    return result
  }
  return interpreter
}

/**
 * Compiles a chat template. The result is a pure function of its variables: unlike the package's own `render` it has no clock, because two
 * equal conversations must give equal prompts. A template that needs `strftime_now` fails, one that asks whether it is defined does not.
 * What one rendering may do is bounded: a template that does more fails.
 * Throws whatever the parser and the template (`raise_exception`) throw.
 */
export function compileTemplate(text: string): (variables: Readonly<Record<string, unknown>>) => string {
  const { parsed } = new Template(text)
  // Its rounds would not be counted.
  if (hasIdleLoop(parsed)) throw new Error('the template has a loop without a body')
  return (variables) => {
    const environment = new Environment()
    for (const [name, value] of Object.entries({ ...constants, range: boundedRange(), ...variables })) environment.set(name, value)
    const result = bounded(new Interpreter(environment)).run(parsed).value
    if (typeof result !== 'string') throw new TypeError('the template gives no text')
    return result
  }
}

function hasIdleLoop(node: unknown): boolean {
  if (typeof node !== 'object' || node === null) return false
  if ('type' in node && node.type === 'For' && 'body' in node && Array.isArray(node.body) && node.body.length === 0) return true
  return Object.values(node).some(hasIdleLoop)
}

// Python's constants in both spellings that Jinja accepts, and a function that chat templates call.
const constants: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: (message: unknown): never => {
    throw new Error(String(message))
  },
}

function boundedRange(): (start: number, stop?: number, step?: number) => number[] {
  let left = maxRange
  return (start, stop, step = 1) => {
    const [from, to] = stop === undefined ? [0, start] : [start, stop]
    const length = step === 0 ? Number.NaN : Math.max(0, Math.ceil((to - from) / step))
    if (!(length <= left)) throw new Error('range: too many steps')
    left -= length
    return Array.from({ length }, (_, i) => from + i * step)
  }
}
