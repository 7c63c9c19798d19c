import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundleRole } from '../../../../tools/bundle/roles.ts'
import { bundledRoles } from '../../../../tools/layers.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { readTrace } from './trace.ts'

interface Listed {
  readonly node: { readonly arguments: readonly string[] }
  readonly cpu_variant: string
  readonly roles: {
    readonly [role: string]: { readonly builtins: readonly string[]; readonly packages: readonly string[]; readonly files: readonly string[] }
  }
  readonly files: { readonly [path: string]: { readonly sha256: string; readonly size: number } }
}

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const run = promisify(execFile)
let directory: string
let list: Listed

async function build(name: string): Promise<string> {
  // x64: the one variant that runs on every machine.
  await run(process.execPath, [join(root, 'tools/bundle.ts'), '--out', join(directory, name), '--cpu-variant', 'x64'])
  return join(directory, name)
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-bundle-'))
  list = JSON.parse(await readFile(join(await build('one'), 'bundle.json'), 'utf8')) as Listed
}, 120_000)
afterAll(() => rm(directory, { recursive: true, force: true }))

async function hashes(path: string): Promise<{ [file: string]: string }> {
  const found: { [file: string]: string } = {}
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue
    const file = join(entry.parentPath, entry.name)
    found[relative(path, file)] = createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
  }
  return found
}

describe('the bundle', () => {
  it('the text of every role is ASCII, so that V8 keeps it in one byte for each character', async () => {
    for (const role of Object.keys(list.roles))
      expect((await readFile(join(directory, 'one', `${role}.mjs`), 'utf8')).search(/[^\0-\x7f]/), role).toBe(-1)
  })

  it('lists every file with its hash, and there is nothing else', async () => {
    const { 'bundle.json': _, ...files } = await hashes(join(directory, 'one'))
    expect(Object.fromEntries(Object.entries(list.files).map(([path, { sha256 }]) => [path, sha256]))).toEqual(files)
  })

  it('is the same, byte for byte, each time it is built', async () => {
    expect(await hashes(await build('two'))).toEqual(await hashes(join(directory, 'one')))
  }, 60_000)

  it('S23: holds one CPU variant of the engine', () => {
    const variants = Object.keys(list.files).filter((path) => /libggml-cpu-[a-z0-9_]+\.so$/.test(path))
    expect(variants.map((path) => path.split('/').at(-1))).toEqual([`libggml-cpu-${list.cpu_variant}.so`])
  })

  it('holds of each role what that role needs: no engine in a controller, no downloads anywhere', () => {
    expect(list.roles.controller?.files).toEqual(['anchors.json', 'controller.mjs'])
    const bare = (role: string): string[] => list.roles[role]?.packages.map((name) => name.slice(0, name.lastIndexOf('@'))) ?? []
    // What comes with the client of PostgreSQL is in its files and nowhere else.
    const ofPostgres = /^(?:pg.*|postgres-.*|split2|xtend)$/
    expect(bare('worker').filter((name) => !ofPostgres.test(name))).toEqual(['@hono/node-server', '@huggingface/jinja', 'hono'])
    expect(bare('worker')).toContain('pg')
    expect(bare('broker')).toEqual(['@hono/node-server', 'hono'])
    for (const { builtins } of Object.values(list.roles)) expect(builtins).not.toContain('node:vm')
  })

  it('a controller holds of undici what its connections to workers need: V8 would keep the text of the rest in memory, and an enclave its code', async () => {
    const text = await readFile(join(directory, 'one/controller.mjs'), 'utf8')
    const classes = [...text.matchAll(/\b(\w+) = class\b/g)].map(([, name]) => name)
    expect(classes).toEqual(expect.arrayContaining(['Client', 'Pool', 'HeadersTimeoutError']))
    for (const name of ['Agent', 'EventSource', 'MemoryCacheStore', 'MockAgent', 'ProxyAgent', 'WebSocket']) expect(classes).not.toContain(name)
  })

  it.each([
    ['a package', 'controller', 'undici'],
    ['a package', 'worker', '@huggingface/jinja'],
    ['a part of Node', 'controller', 'node:net'],
    ['a part of Node', 'worker', 'node:https'],
  ] as const)('is not built where a role imports %s that is not on its list', async (_, role, name) => {
    const allowed = bundledRoles[role].filter((one) => one !== name)
    await expect(bundleRole(role, allowed)).rejects.toThrow(name)
  })
})

describe('the guard of an enclave', () => {
  it('refuses processes, threads, fetch and watching with a code; answers the engine; lets an IP option fail', async () => {
    const script = `
      import childProcess, { spawn } from 'node:child_process'
      import { watch } from 'node:fs'
      import { Socket } from 'node:net'
      import { Worker } from 'node:worker_threads'
      const { guardEnclave } = await import(process.argv[1])
      Socket.prototype.setTypeOfService = () => { throw new Error('ENOPROTOOPT') }
      guardEnclave()
      const codes = []
      for (const attempt of [
        () => spawn('true'), () => childProcess.exec('true'), () => childProcess.execFile('true'), () => childProcess.execFileSync('true'),
        () => childProcess.execSync('true'), () => childProcess.spawnSync('true'), () => childProcess.fork('other.js'),
        () => new Worker('x'), () => watch('.'), () => fetch('http://127.0.0.1:1'),
      ]) try { attempt(); codes.push('done') } catch (error) { codes.push(error.code) }
      const socket = new Socket()
      const said = []
      const child = childProcess.fork('/x/testBindingBinary.js')
      child.on('message', ({ type }) => { said.push(type); child.send({ type: { ready: 'start', loaded: 'test', done: 'exit' }[type] }) })
      child.on('exit', (code) => console.log(JSON.stringify({ codes, said, code, socket: socket.setTypeOfService(1) === socket })))
    `
    const guard = fileURLToPath(new URL('../../src/bundle/guard.ts', import.meta.url))
    const { stdout } = await run(process.execPath, ['--conditions=@veritee/source', '--input-type=module', '-e', script, guard])
    expect(JSON.parse(stdout)).toEqual({ codes: Array(10).fill('enclave_forbidden'), said: ['ready', 'loaded', 'done'], code: 0, socket: true })
  })

  it('a bundle does not start without the argument that its list names', async () => {
    const failed: unknown = await run(process.execPath, [join(directory, 'one/worker.mjs'), '--help']).catch((error: unknown) => error)
    expect(failed).toMatchObject({ code: 2, stderr: expect.stringContaining('usage: expected node --disable-wasm-trap-handler') })
    const { stdout } = await run(process.execPath, [...list.node.arguments, join(directory, 'one/worker.mjs'), '--help'])
    expect(stdout).toContain('--tee')
  })

  it('downloads nothing: a model is a file', async () => {
    const args = [
      ...list.node.arguments,
      join(directory, 'one/worker.mjs'),
      '--tee',
      'simulate',
      '--state',
      join(directory, 's'),
      '--port',
      '0',
      '--direct',
    ]
    const failed: unknown = await run(process.execPath, [...args, '--model', 'hf:owner/repo/file.gguf']).catch((error: unknown) => error)
    expect(failed).toMatchObject({ code: 3, stderr: expect.stringContaining('model_unavailable') })
  })

  it('the controller runs from its bundle as far as its configuration carries it', async () => {
    const args = [...list.node.arguments, join(directory, 'one/controller.mjs'), '--tee', 'simulate', '--state', join(directory, 'c')]
    const failed: unknown = await run(process.execPath, args).catch((error: unknown) => error)
    expect(failed).toMatchObject({ code: 2, stderr: expect.stringContaining('config_invalid: admission.policy') })
  })

  it('the broker starts from its bundle, and stops', async () => {
    const args = [join(directory, 'one/broker.mjs'), '--tee', 'simulate', '--state', join(directory, 'b'), '--port', '0', '--json']
    const child = spawn(process.execPath, [...list.node.arguments, ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
    const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
    for await (const part of child.stdout) if (String(part).includes('"role":"broker"')) break
    child.kill('SIGTERM')
    expect(await exited).toBe(0)
  })
})

/** System files that a process of Node opens whatever it runs: its libraries, the machine's description. An enclave's manifest lists them too. */
const system = [
  /^\/(?:usr\/)?lib(?:64)?\/.*\.so(?:\.[0-9]+)*$/,
  /^\/etc\/(?:ld\.so\.cache|ssl\/openssl\.cnf|passwd|nsswitch\.conf|resolv\.conf|hosts|os-release|localtime|host\.conf|gai\.conf)$/,
  /^\/usr\/share\/zoneinfo\//,
  /^\/proc\/(?:self|\d+)\/(?:maps|cgroup|fd\/\d+|stat|status|mountinfo)$/,
  /^\/proc\/(?:meminfo|cpuinfo|vmstat|stat|version_signature)$/,
  /^\/sys\/(?:fs\/cgroup|devices\/system)\//,
  /^\/dev\/(?:null|urandom)$/,
]

function straceWorks(): boolean {
  try {
    execFileSync('strace', ['-f', '-o', '/dev/null', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
const left = straceWorks() ? '' : ' (left out: strace is not there, or may not trace)'

it.skipIf(left !== '')(
  `S2, S12: a worker from its bundle, seen from outside: it answers with a receipt that verifies, starts no other program, opens no file that is not listed, writes to memory and its state directory only${left}`,
  async () => {
    const bundle = join(directory, 'one')
    const state = join(directory, 'state')
    const trace = join(directory, 'trace')
    const worker = [
      ...list.node.arguments,
      join(bundle, 'worker.mjs'),
      '--tee',
      'simulate',
      '--state',
      state,
      '--model',
      demoPath,
      '--port',
      '0',
      '--direct',
      '--json',
    ]
    const calls =
      'execve,execveat,fork,vfork,clone,clone3,open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,link,linkat,symlink,symlinkat'
    const child = spawn('strace', ['-f', '-qq', '-o', trace, '-e', `trace=${calls}`, process.execPath, ...worker], {
      cwd: directory,
      env: { PATH: '/usr/bin:/bin' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
    let stdout = ''
    for await (const part of child.stdout) {
      stdout += String(part)
      if (stdout.includes('\n')) break
    }
    const ready = JSON.parse(stdout) as { url: string; models: readonly { name: string }[] }
    const policy = parsePolicy(await readFile(join(state, 'policy.json'), 'utf8'))
    const roots = [intelSgxRootCa, ...parsePem(await readFile(join(state, 'root.pem'), 'utf8'))] as const
    const transport = nodeTransport(ready.url)
    const service = await connect(transport, { policy, trust: { roots }, role: 'worker', now: () => new Date() })
    const answer = await ask(
      service,
      '/v1/chat/completions',
      chatBody(String(ready.models[0]?.name), 'Who are you?', { temperature: 0, stream: true }),
    )
    transport.close()
    expect(answer.proof).toMatchObject({ outcome: 'verified', simulated: true, model: { files: [{ sha256: `sha256:${demoSha256}` }] } })
    // strace passes the signal on by ending; its child gets one of its own.
    const [pid] = (await readFile(trace, 'utf8')).split(' ')
    process.kill(Number(pid), 'SIGTERM')
    expect(await exited).toBe(0)

    const seen = readTrace(await readFile(trace, 'utf8'), directory)
    expect(seen.programs).toEqual([process.execPath])
    expect(seen.processes).toEqual([])
    const listed = new Set([...(list.roles.worker?.files ?? []), 'bundle.json'].map((path) => join(bundle, path)))
    const others = [process.execPath, demoPath]
    // The engine looks into the directory of its libraries.
    const own = (path: string): boolean => path === state || path.startsWith(`${state}/`)
    const directoryOfListed = (path: string): boolean => [...listed].some((one) => one.startsWith(`${path}/`))
    expect(
      [...seen.read].filter(
        (path) => !listed.has(path) && !directoryOfListed(path) && !own(path) && !others.includes(path) && !system.some((one) => one.test(path)),
      ),
    ).toEqual([])
    // What was listed was not listed in vain: its own file, and the engine's library.
    expect(seen.read).toContain(join(bundle, 'worker.mjs'))
    expect([...seen.read].some((path) => path.endsWith('libggml-cpu-x64.so'))).toBe(true)
    expect([...seen.written].filter((path) => !own(path) && path !== '/dev/shm' && !path.startsWith('/dev/shm/'))).toEqual([])
    expect(seen.written).toContain(join(state, 'root.pem'))
  },
  60_000,
)

it('the reader of traces sees what it is there to see', () => {
  const lines = [
    '1 execve("/bin/node", ["node"], 0x0 /* 1 var */) = 0',
    '1 openat(AT_FDCWD, "a/../b", O_RDONLY|O_CLOEXEC) = 3',
    '1 openat(AT_FDCWD, "/missing", O_RDONLY) = -1 ENOENT (No such file or directory)',
    '1 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = 2',
    '2 openat(AT_FDCWD, "/x", O_WRONLY|O_CREAT, 0600 <unfinished ...>',
    '1 execve("/bin/true", ["true"], 0x0) = -1 EACCES (Permission denied)',
    '2 <... openat resumed>) = 4',
    '1 rename("/x", "/y") = 0',
    '1 clone(child_stack=NULL, flags=SIGCHLD) = 3',
    '3 execve("/bin/sh", ["sh"], 0x0) = 0',
    '1 vfork( <unfinished ...>',
    '1 <... vfork resumed>) = 4',
  ]
  const seen = readTrace(lines.join('\n'), '/app')
  expect([...seen.read]).toEqual(['/app/b'])
  expect([...seen.written]).toEqual(['/x', '/y'])
  expect(seen.programs).toEqual(['/bin/node', '/bin/sh'])
  expect(seen.processes).toHaveLength(2)
})
