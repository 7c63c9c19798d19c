import { spawn } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const program = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
const plain = Buffer.from('GGUF and some weights that nobody is to read. '.repeat(20_000))
let root: string
let publisher: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-model-'))
  await writeFile(at('m.gguf'), plain)
  publisher = String((await run('keygen', '--publisher', at('publisher.pem'))).json?.publisher)
  await run('keygen', '--model-key', at('model.key'))
  await seal('sealed')
})
afterAll(() => rm(root, { recursive: true, force: true }))

const at = (name: string): string => join(root, name)
const seal = (out: string, ...more: string[]): ReturnType<typeof run> =>
  run(
    'seal',
    at('m.gguf'),
    '--out',
    at(out),
    '--name',
    'demo',
    '--model-version',
    '3',
    '--key-id',
    'models/demo/3',
    '--key',
    at('model.key'),
    '--publisher-key',
    at('publisher.pem'),
    ...more,
  )

async function run(...args: string[]): Promise<{ code: number | null; json: Record<string, unknown> | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--conditions=@veritee/source', program, 'model', ...args, '--json'])
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (part) => (stdout += String(part)))
  child.stderr.on('data', (part) => (stderr += String(part)))
  const { promise, resolve } = Promise.withResolvers<number | null>()
  child.on('close', resolve)
  const code = await promise
  return { code, json: stdout.startsWith('{') ? (JSON.parse(stdout) as Record<string, unknown>) : null, stdout, stderr }
}

const codeIn = ({ json }: { json: Record<string, unknown> | null }): unknown => (json?.error as { code?: unknown } | undefined)?.code

describe('veriteed model', () => {
  it('seals, inspects, verifies and opens: the file that comes out is the file that went in', async () => {
    const inspected = await run('inspect', at('sealed'))
    expect(inspected.json).toMatchObject({ verified: false, manifest: { name: 'demo', model_version: 3, publisher, key_id: 'models/demo/3' } })
    expect((await run('verify', at('sealed'), '--publisher', publisher)).json).toMatchObject({ verified: 'manifest' })
    expect((await run('verify', at('sealed'), '--publisher', publisher, '--key', at('model.key'))).json).toMatchObject({
      verified: 'manifest and every byte',
    })
    const opened = await run('open', at('sealed'), '--publisher', publisher, '--key', at('model.key'), '--file', 'm.gguf', '--out', at('out.gguf'))
    expect(opened.code).toBe(0)
    expect(await readFile(at('out.gguf'))).toEqual(plain)
    expect((await stat(at('out.gguf'))).mode & 0o077).toBe(0)
  })

  it('the same with one file', async () => {
    const sealed = await run(
      ...['seal', at('m.gguf'), '--single', at('m.sealed'), '--name', 'demo', '--model-version', '3', '--key-id', 'models/demo/3'],
      ...['--key', at('model.key'), '--publisher-key', at('publisher.pem')],
    )
    expect(sealed.json).toMatchObject({ file: at('m.sealed'), manifest: { name: 'demo' } })
    expect((await run('inspect', at('m.sealed'))).json).toMatchObject({ verified: false, manifest: { publisher } })
    expect((await run('verify', at('m.sealed'), '--publisher', publisher, '--key', at('model.key'))).json).toMatchObject({
      verified: 'manifest and every byte',
    })
    const out = at('single.gguf')
    expect((await run('open', at('m.sealed'), '--publisher', publisher, '--key', at('model.key'), '--file', 'm.gguf', '--out', out)).code).toBe(0)
    expect(await readFile(out)).toEqual(plain)
  })

  it('keys are for their owner only, are never overwritten, and never printed', async () => {
    for (const name of ['publisher.pem', 'model.key']) expect((await stat(at(name))).mode & 0o777).toBe(0o600)
    const key = await readFile(at('model.key'))
    const again = await run('keygen', '--model-key', at('model.key'))
    expect([again.code, codeIn(again)]).toEqual([3, 'file_unavailable'])
    expect(await readFile(at('model.key'))).toEqual(key)
    const made = await run('keygen', '--model-key', at('second.key'))
    expect(made.stdout + made.stderr).not.toContain((await readFile(at('second.key'))).toString('hex'))
  })

  it('S12: a changed chunk is told with exit code 1, and opening leaves no file', async () => {
    await seal('changed')
    const path = join(at('changed'), 'm.gguf.sealed')
    const bytes = await readFile(path)
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1
    await writeFile(path, bytes)
    const verified = await run('verify', at('changed'), '--publisher', publisher, '--key', at('model.key'))
    expect([verified.code, codeIn(verified)]).toEqual([1, 'sealed_chunk_invalid'])
    const opened = await run('open', at('changed'), '--publisher', publisher, '--key', at('model.key'), '--file', 'm.gguf', '--out', at('no.gguf'))
    expect([opened.code, codeIn(opened)]).toEqual([1, 'sealed_chunk_invalid'])
    expect((await readdir(root)).filter((name) => name.startsWith('no.gguf'))).toEqual([])
  })

  it('S13: without a trusted publisher nothing is verified', async () => {
    const none = await run('verify', at('sealed'))
    expect([none.code, codeIn(none)]).toEqual([2, 'usage'])
    const other = await run('verify', at('sealed'), '--publisher', '0'.repeat(64))
    expect([other.code, codeIn(other)]).toEqual([1, 'sealed_publisher_unknown'])
    const older = await run('verify', at('sealed'), '--publisher', publisher, '--minimum-version', '4')
    expect([older.code, codeIn(older)]).toEqual([1, 'sealed_version_rolled_back'])
  })

  it.each([
    ['an unknown action', ['melt']],
    ['an option of another action', ['inspect', 'x', '--key', 'y']],
    ['an unknown option', ['inspect', 'x', '--force']],
    ['nothing to seal', ['seal', '--out', 'x']],
    ['a directory and a file to make', ['seal', 'm.gguf', '--out', 'x', '--single', 'y', '--key-id', 'a/b/1']],
    ['two directories', ['inspect', 'a', 'b']],
    ['neither kind of key', ['keygen']],
  ])('%s is wrong usage', async (_, args) => {
    const found = await run(...args)
    expect([found.code, codeIn(found)]).toEqual([2, 'usage'])
  })

  it('a key that others may read is refused', async () => {
    await run('keygen', '--model-key', at('open.key'))
    await chmod(at('open.key'), 0o644)
    const found = await run('verify', at('sealed'), '--publisher', publisher, '--key', at('open.key'))
    expect([found.code, codeIn(found)]).toEqual([2, 'usage'])
  })

  it('an existing directory and an existing file are left as they are', async () => {
    const again = await seal('sealed')
    expect([again.code, codeIn(again)]).toEqual([3, 'file_unavailable'])
    const onto = await run('open', at('sealed'), '--publisher', publisher, '--key', at('model.key'), '--file', 'm.gguf', '--out', at('m.gguf'))
    expect([onto.code, codeIn(onto)]).toEqual([3, 'file_unavailable'])
    expect(await readFile(at('m.gguf'))).toEqual(plain)
    expect((await readdir(root)).filter((name) => name.endsWith('.part'))).toEqual([])
  })
})
