import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const program = fileURLToPath(new URL('../../src/bin/veritee.ts', import.meta.url))

/** Runs the program in a process of its own, with nothing of this one's cache. */
export function veritee(args: readonly string[], environment: { readonly [name: string]: string } = {}): Promise<Run> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NO_PROXY: '*', ...environment }
    execFile(
      process.execPath,
      ['--conditions=@veritee/source', program, ...args],
      { env, timeout: 20_000, maxBuffer: 32 << 20 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code
        if (typeof code === 'number') resolve({ code, stdout, stderr })
        else reject(error)
      },
    )
  })
}
