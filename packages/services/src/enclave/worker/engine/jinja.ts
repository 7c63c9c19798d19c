import { Environment, Interpreter, Template } from '@huggingface/jinja'

const maxRange = 10_000

/**
 * Compiles a chat template. The result is a pure function of its variables: unlike the package's own `render` it has no clock, because two
 * equal conversations must give equal prompts. A template that needs `strftime_now` fails, one that asks whether it is defined does not.
 * Throws whatever the parser and the template (`raise_exception`) throw.
 */
export function compileTemplate(text: string): (variables: Readonly<Record<string, unknown>>) => string {
  const { parsed } = new Template(text)
  return (variables) => {
    const environment = new Environment()
    for (const [name, value] of Object.entries({ ...builtins, ...variables })) environment.set(name, value)
    const result: unknown = new Interpreter(environment).run(parsed).value
    if (typeof result !== 'string') throw new TypeError('the template gives no text')
    return result
  }
}

// Python's constants in both spellings that Jinja accepts, and the two functions that chat templates call.
const builtins: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: (message: unknown): never => {
    throw new Error(String(message))
  },
  range: (start: number, stop?: number, step = 1): number[] => {
    const [from, to] = stop === undefined ? [0, start] : [start, stop]
    const length = step === 0 ? Number.NaN : Math.max(0, Math.ceil((to - from) / step))
    if (!(length <= maxRange)) throw new Error('range: too many steps')
    return Array.from({ length }, (_, i) => from + i * step)
  },
}
