import process from 'node:process'

/**
 * Runs the command line again and again in one process, each time from its first statement, because starting a process for each of a hundred
 * lines of a table takes longer than all of them. The answers are what a process of its own would have given; `cli.test.ts` compares the two.
 */
const program = new URL('../../src/bin/veritee.ts', import.meta.url).href

export interface Call {
  readonly id: number
  readonly args: readonly string[]
  readonly apiKey: string | null
}
export interface Result {
  readonly id: number
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const write = (into: string[]): typeof process.stdout.write => {
  return (text: string | Uint8Array): boolean => {
    into.push(typeof text === 'string' ? text : new TextDecoder().decode(text))
    return true
  }
}

async function run({ id, args, apiKey }: Call): Promise<Result> {
  const [stdout, stderr]: [string[], string[]] = [[], []]
  process.stdout.write = write(stdout)
  process.stderr.write = write(stderr)
  process.argv = [process.execPath, program, ...args]
  if (apiKey === null) delete process.env.VERITEE_API_KEY
  else process.env.VERITEE_API_KEY = apiKey
  process.exitCode = 0
  await import(`${program}?run=${id}`)
  const code = Number(process.exitCode)
  process.exitCode = 0
  return { id, code, stdout: stdout.join(''), stderr: stderr.join('') }
}

let last: Promise<unknown> = Promise.resolve()
process.on('message', (call: Call) => {
  last = last.then(async () => process.send?.(await run(call)))
})
