import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect } from 'vitest'

const program = fileURLToPath(new URL('../../src/bin/veritee.ts', import.meta.url))

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The command line as a user runs it, in a process of its own. */
export function veritee(args: readonly string[], env: { readonly [name: string]: string } = {}): Promise<Ran> {
  const { VERITEE_API_KEY: _, ...inherited } = process.env
  const child = spawn(process.execPath, ['--conditions=@veritee/source', program, ...args], { env: { ...inherited, ...env } })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (out.stderr += text))
  return new Promise((resolve, reject) => child.once('error', reject).once('close', (code) => resolve({ code, ...out })))
}

/** A refusal before anything was judged: nothing on stdout, one line on stderr that names the code, and no stack. */
export function expectRefusal({ code, stdout, stderr }: Ran, exit: number, error: string): void {
  expect([code, stdout]).toEqual([exit, ''])
  expect(stderr).toMatch(new RegExp(`^veritee: ${error}: [^\\n]+\\n$`))
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
