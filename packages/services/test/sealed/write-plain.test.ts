import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { writePlain } from '../../src/models/sealing/write-plain.ts'
import { codeOf } from './code-of.ts'

let root: string
let unnamed = false
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-write-'))
  unnamed = await open(root, 0o20200000 | constants.O_RDWR, 0o600).then(
    (file) => file.close().then(() => true),
    () => false,
  )
})
afterAll(() => rm(root, { recursive: true, force: true }))

async function* parts(...bytes: readonly string[]): AsyncGenerator<Uint8Array, void, void> {
  for (const one of bytes) yield Buffer.from(one)
}

it('the file is there when all of it is, for its owner only; an existing one stays as it is', async () => {
  const out = join(root, 'out')
  await writePlain(out, parts('one ', 'two'))
  expect(await readFile(out, 'utf8')).toBe('one two')
  expect((await stat(out)).mode & 0o777).toBe(0o600)
  expect(await codeOf(() => writePlain(out, parts('other')))).toBe('file_unavailable')
  expect(await readFile(out, 'utf8')).toBe('one two')
  expect(await codeOf(() => writePlain(join(root, 'none', 'out'), parts('x')))).toBe('file_unavailable')
  expect(await readdir(root)).toEqual(['out'])
})

it('S12: after a refusal nothing is left', async () => {
  async function* refused(): AsyncGenerator<Uint8Array, void, void> {
    yield Buffer.from('plain bytes')
    throw fail('model_hash_mismatch', 'another')
  }
  expect(await codeOf(() => writePlain(join(root, 'refused'), refused()))).toBe('model_hash_mismatch')
  expect((await readdir(root)).filter((name) => name.startsWith('refused'))).toEqual([])
})

it('S12: nothing is left of a killed process, where the file system has unnamed files', async ({ skip }) => {
  if (!unnamed) skip('no O_TMPFILE here')
  const program = join(root, 'program.mjs')
  await writeFile(
    program,
    `import { writePlain } from '${new URL('../../src/models/sealing/write-plain.ts', import.meta.url).href}'
    async function* parts() {
      yield Buffer.alloc(1 << 20, 'plain bytes ')
      console.log('written')
      yield await new Promise((resolve) => setTimeout(resolve, 60_000))
    }
    await writePlain('${join(root, 'killed')}', parts())`,
  )
  const child = spawn(process.execPath, ['--conditions=@veritee/source', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'close')
  expect((await readdir(root)).filter((name) => name.startsWith('killed'))).toEqual([])
})
