/** One step of the transcript. */
export interface Step {
  readonly title: string
  readonly ok: boolean
  readonly ms: number
  readonly details: readonly string[]
}

/** Runs steps one after the other, tells of each, and keeps the transcript. */
export class Steps {
  readonly done: Step[] = []
  readonly #print: (line: string) => void
  readonly #nowMs: () => number

  constructor(print: (line: string) => void, nowMs: () => number) {
    this.#print = print
    this.#nowMs = nowMs
  }

  /** `describe` gives the lines that show what the step established. A failure is printed with its reason and thrown on. */
  async run<T>(title: string, work: () => Promise<T>, describe: (value: T) => readonly string[]): Promise<T> {
    const start = this.#nowMs()
    try {
      const value = await work()
      this.#close({ title, ok: true, ms: this.#nowMs() - start, details: describe(value) })
      return value
    } catch (error) {
      const reason = error instanceof Error ? `${'code' in error ? `${String(error.code)}: ` : ''}${error.message}` : String(error)
      this.#close({ title, ok: false, ms: this.#nowMs() - start, details: [reason] })
      throw error
    }
  }

  #close(step: Step): void {
    const rounded = { ...step, ms: Math.round(step.ms) }
    this.done.push(rounded)
    this.#print(`${step.ok ? '✓' : '✗'} ${step.title}  (${rounded.ms} ms)`)
    for (const detail of step.details) this.#print(`    ${detail}`)
  }
}
