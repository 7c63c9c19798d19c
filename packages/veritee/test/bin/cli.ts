import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect } from 'vitest'
import type { Call, Result } from './server.ts'

const program = fileURLToPath(new URL('../../src/bin/veritee.ts', import.meta.url))
const conditions = '--conditions=@veritee/source'

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The command line as a user runs it, in a process of its own. */
export function fresh(args: readonly string[], env: { readonly [name: string]: string } = {}, input = ''): Promise<Ran> {
  const { VERITEE_API_KEY: _, ...inherited } = process.env
  const child = spawn(process.execPath, [conditions, program, ...args], { env: { ...inherited, ...env } })
  child.stdin.end(input)
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    out.stderr += text
  })
  return new Promise((resolve, reject) => child.once('error', reject).once('close', (code) => resolve({ code, ...out })))
}

let server: ChildProcess | null = null
let calls = 0
afterAll(() => {
  server?.kill()
})

/** The same through one process that is kept for the file. Its death, by whatever nobody caught, fails the test. */
export function veritee(args: readonly string[], env: { readonly VERITEE_API_KEY?: string } = {}): Promise<Ran> {
  server ??= fork(fileURLToPath(new URL('./server.ts', import.meta.url)), { execArgv: [conditions], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const child = server
  const call: Call = { id: ++calls, args, apiKey: env.VERITEE_API_KEY ?? null }
  return new Promise((resolve, reject) => {
    const died = (code: number | null): void => reject(new Error(`the command line ended its process with code ${code}`))
    const answered = (result: unknown): void => {
      const { id, code, stdout, stderr } = result as Result
      if (id !== call.id) return
      child.off('message', answered).off('exit', died)
      resolve({ code, stdout, stderr })
    }
    child.on('message', answered).once('exit', died).send(call)
  })
}

/** A refusal before anything was judged: nothing on stdout, one line on stderr that names the code, and no stack. */
export function expectRefusal({ code, stdout, stderr }: Ran, exit: number, error: string): void {
  expect([code, stdout]).toEqual([exit, ''])
  expect(stderr).toMatch(new RegExp(`^veritee: ${error}: [^\\n]+\\n`))
  expect(stderr).not.toMatch(/\n\s+at /)
}

/** The one JSON document that stdout holds. */
export function json(ran: Ran): Record<string, unknown> {
  return JSON.parse(ran.stdout) as Record<string, unknown>
}

/** Files of one test file, removed after it. */
export function folder(): { write(name: string, data: string | Uint8Array): string; path(name: string): string } {
  const directory = mkdtempSync(join(tmpdir(), 'veritee-cli-'))
  afterAll(() => rmSync(directory, { recursive: true }))
  const path = (name: string): string => join(directory, name)
  return {
    path,
    write: (name, data) => {
      writeFileSync(path(name), data)
      return path(name)
    },
  }
}
