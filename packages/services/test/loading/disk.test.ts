import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000
const noStrace = spawnSync('strace', ['-f', '-o', '/dev/null', process.execPath, '--version']).status !== 0
const why = noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : noStrace ? ' (skipped: no strace that may trace here)' : ''

let root: string
let sealed: string
const publisher = await generateEd25519()
const modelKey = new Uint8Array(randomBytes(32))
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-disk-'))
  sealed = join(root, 'sealed')
  const facts = { name: 'demo', modelVersion: 1, keyId: 'models/demo/1', chatTemplateDigest: null, licence: null, created: 0 }
  await sealModel({ files: [demoPath], out: sealed, ...facts, modelKey, publisher })
})
afterAll(() => rm(root, { recursive: true, force: true }))

// Whatever opens, and whatever takes bytes out of a process. libuv has one io_uring for epoll_ctl; another, for files, would have a thread in the kernel.
const calls = 'open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,mmap,io_uring_setup'

interface Traced {
  /** Files, by what their descriptors point to, that were opened for writing, written or mapped for shared writing. */
  readonly written: ReadonlySet<string>
  readonly uring: boolean
  readonly output: Buffer
}

/** Runs a program and all its children under strace, one log for each thread so that no line is cut by another. */
async function trace(name: string, program: string): Promise<Traced> {
  const home = join(root, name)
  await mkdir(join(home, 'log'), { recursive: true })
  await writeFile(join(home, 'program.mjs'), program)
  await writeFile(join(home, 'key'), modelKey, { mode: 0o600 })
  const run = spawnSync(
    'strace',
    ['-ff', '-y', '-s', '0', '-e', `trace=${calls}`, '-o', join(home, 'log', 't'), process.execPath, '--conditions=@veritee/source', 'program.mjs'],
    { cwd: home, env: { PATH: process.env.PATH ?? '', HOME: home }, encoding: 'buffer' },
  )
  expect(run.status, run.stderr.toString()).toBe(0)
  const written = new Set<string>()
  let uring = false
  for (const file of await readdir(join(home, 'log'))) {
    for (const line of (await readFile(join(home, 'log', file), 'utf8')).split('\n')) {
      const [, call = '', args = '', result = ''] = /^(\w+)\((.*)\)\s+= (.*)$/.exec(line) ?? []
      if (call === 'io_uring_setup') uring ||= /\{flags=[^,]*SQPOLL/.test(args)
      else if (/^(?:open|creat)/.test(call)) {
        const path = /^\d+<(.*)>$/.exec(result)?.[1]
        if (path !== undefined && /O_WRONLY|O_RDWR|O_CREAT/.test(call === 'creat' ? 'O_CREAT' : args)) written.add(path)
      } else if (call === 'mmap') {
        const path = /PROT_WRITE.*MAP_SHARED.*, \d+<(.*)>, /.exec(args)?.[1]
        if (path !== undefined) written.add(path)
      } else {
        // sendfile and write name what they write to first; the others of two descriptors name it third.
        const paths = [...args.matchAll(/\d+<([^>]*)>/g)].map(([, path]) => path ?? '')
        const path = call === 'copy_file_range' || call === 'splice' ? paths[1] : paths[0]
        if (path !== undefined) written.add(path)
      }
    }
  }
  return { written, uring, output: Buffer.concat([run.stdout, run.stderr]) }
}

/** Not files: what goes through them is read by this test, or by a process that is traced too. */
const channel = /^(?:pipe:|socket:|anon_inode:|UNIX|\/dev\/null$|\/dev\/pts\/)/
const coredumps = /^\/proc\/(?:self|\d+)\/coredump_filter$/
const inMemory = /^\/dev\/shm\//

describe('what a process writes while it loads a sealed model', () => {
  test.skipIf(noTmpfs || noStrace).each([
    ['in this process', 'openLlamaEngine', '../../src/enclave/worker/engine/index.ts'],
    ['in an engine process', 'openEngineProcess', '../../src/engine-process/index.ts'],
  ])(
    `S12: %s: to files in memory and no other, and no 32 bytes of the weights in what it prints${why}`,
    async (_, name, module) => {
      const url = (path: string): string => new URL(path, import.meta.url).href
      const trust = JSON.stringify({ publishers: [toHex(publisher.publicKey)], minimumVersion: 1 })
      const { written, uring, output } = await trace(
        name,
        `import { readFileSync } from 'node:fs'
        import { loadSealedModel } from '${url('../../src/enclave/worker/load-sealed.ts')}'
        import { ${name} as openEngine } from '${url(module)}'
        const requestKey = async () => new Uint8Array(readFileSync('key'))
        const served = await loadSealedModel({ path: '${sealed}', trust: ${trust}, requestKey, openEngine, toleratesSwap: true })
        console.log(served.event.files[0].sha256)
        process.exit(0)`,
      )
      expect(output.toString()).toContain(demoSha256)
      expect(uring).toBe(false)
      expect([...written].some((path) => inMemory.test(path))).toBe(true)
      expect([...written].some((path) => coredumps.test(path))).toBe(true)
      expect([...written].filter((path) => !inMemory.test(path) && !channel.test(path) && !coredumps.test(path))).toEqual([])
      const plain = await readFile(demoPath)
      for (let at = 0; at + 32 <= output.length; at++) {
        const run = output.subarray(at, at + 32)
        expect(plain.includes(run), run.toString('latin1')).toBe(false)
      }
    },
    120_000,
  )

  test.skipIf(noTmpfs || noStrace)(`the test sees a process that writes a byte to a disk${why}`, async () => {
    const { written } = await trace(
      'leaking',
      `import { spawnSync } from 'node:child_process'
      import { writeFileSync } from 'node:fs'
      writeFileSync('own', 'x')
      spawnSync(process.execPath, ['-e', 'require("node:fs").writeFileSync("of-a-child", "x")'])`,
    )
    for (const name of ['own', 'of-a-child']) expect([...written]).toContain(join(root, 'leaking', name))
  })
})
