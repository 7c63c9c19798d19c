import { type ChildProcess, spawn } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { certificatePem } from 'veritee/attestation/issue'
import { createSimPlatform } from 'veritee/attestation/sim'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startPccs } from '../../../veritee/test/collateral/pccs.ts'
import { runKeyAction } from '../../src/bin/commands/model-keys.ts'
import { brokerSchema } from '../../src/config/broker.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { listen } from '../../src/http/listen.ts'
import { makeModelKey, readModelKey } from '../../src/models/sealing/keys.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { startBrokerProcess } from '../../src/process/broker.ts'
import { nodeFiles } from '../../src/process/files.ts'
import type { Running } from '../../src/process/run.ts'
import { startWorkerProcess } from '../../src/process/worker.ts'
import { enclaves, policyText, secret, send } from '../broker/system.ts'
import { type TrusteeClientOptions, trusteeClient } from '../broker/trustee.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000

const veriteed = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
const credential = 'a-credential-that-nobody-would-ever-guess-01'
let directory: string
// Of these tests alone: what others have in memory at this moment is not looked at.
let memory: string
const children: ChildProcess[] = []
const running: Running[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-broker-process-'))
  if (!noTmpfs) memory = await mkdtemp('/dev/shm/test-broker-process-')
  await writeFile(join(directory, 'admin.token'), `${credential}\n`, { mode: 0o600 })
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(async () => {
  await rm(directory, { recursive: true, force: true })
  if (!noTmpfs) await rm(memory, { recursive: true })
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** The command in a process of its own; `ready` is its first line on stdout, and an empty text where it ended without one. */
function start(args: readonly string[]): { readonly child: ChildProcess; readonly ready: Promise<string>; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, ['--conditions=@veritee/source', veriteed, ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH ?? '', HOME: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  const ready = Promise.withResolvers<string>()
  const ended = Promise.withResolvers<Ended>()
  let out = ''
  let err = ''
  child.stdout.on('data', (part) => {
    out += String(part)
    if (out.includes('\n')) ready.resolve(out)
  })
  child.stderr.on('data', (part) => {
    err += String(part)
  })
  child.once('close', (code) => {
    ready.resolve(out)
    ended.resolve({ code, out, err })
  })
  return { child, ready: ready.promise, ended: ended.promise }
}

const run = (args: readonly string[]): Promise<Ended> => start(args).ended

const source = {
  codeDigest: async () => '00'.repeat(32),
  findModel: () => Promise.reject(new Error('none')),
  openEngine: openLlamaEngine,
  anchors: null,
}

async function broker(args: readonly string[], lines: string[] = [], environment: { readonly [name: string]: string } = {}): Promise<Running> {
  const { configuration } = await readConfiguration(brokerSchema, { args, environment, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  const one = await startBrokerProcess({
    configuration,
    program: source,
    files: nodeFiles,
    report: (line) => lines.push(line),
    now: () => new Date(),
  })
  running.push(one)
  return one
}

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
const withAdmin = (): string[] => ['--admin-port', '0', '--admin-token-file', join(directory, 'admin.token')]
const towards = (url: unknown, name: string): string[] => [
  ...['--broker', String(url), '--policy', join(directory, name, 'policy.json'), '--root', join(directory, name, 'root.pem')],
  ...['--admin-token-file', join(directory, 'admin.token')],
]

describe.skipIf(noTmpfs)(`broker, owner and worker as commands${noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''}`, () => {
  it('S13: seal, start, upload, serve; restart with the keys; revoke, and nothing is served any more', async () => {
    const publisherKey = await generateEd25519()
    const publisher = toHex(publisherKey.publicKey)
    await makeModelKey(join(directory, 'model.key'))
    await makeModelKey(join(directory, 'another.key'))
    await sealModel({
      files: [demoPath],
      out: join(directory, 'sealed'),
      name: 'sealed-demo',
      modelVersion: 1,
      keyId: 'models/sealed-demo/1',
      modelKey: await readModelKey(join(directory, 'model.key')),
      publisher: publisherKey,
      chatTemplateDigest: null,
      licence: null,
      created: 1_790_000_000,
    })
    const brokerArgs = ['broker', '--tee', 'simulate', '--state', 'b', '--port', '0', '--admin-port', '0', '--admin-token-file', 'admin.token']
    const first = start([...brokerArgs, '--root', 'w/root.pem', '--json'])
    const up = JSON.parse(await first.ready) as { url: string; admin: string }
    expect(up).toMatchObject({ ok: true, role: 'broker', simulated: true, store: { key: 'file', generation: 0, resources: 0 } })
    const atBroker = (url: string): string[] => [
      '--broker',
      url,
      '--policy',
      'b/policy.json',
      '--root',
      'b/root.pem',
      '--admin-token-file',
      'admin.token',
    ]
    const uploaded = await run([
      'model',
      'upload',
      'sealed',
      '--key',
      'model.key',
      '--release-policy',
      'b/release-policy.json',
      ...atBroker(up.admin),
      '--json',
    ])
    expect(uploaded.err).toBe('')
    expect(JSON.parse(uploaded.out)).toMatchObject({
      broker: { simulated: true, store: 'file', log: null },
      resource: 'models/sealed-demo/1',
      version: 1,
      revoked: false,
    })

    const workerArgs = (url: string): string[] => [
      ...[
        'worker',
        '--direct',
        '--tee',
        'simulate',
        '--state',
        'w',
        '--port',
        '0',
        '--model',
        'sealed:sealed',
        '--publisher',
        publisher,
        '--broker',
        url,
        '--memory-directory',
        memory,
        '--json',
      ],
    ]
    const wrong = [
      'sealed',
      '--key',
      join(directory, 'another.key'),
      '--release-policy',
      join(directory, 'b/release-policy.json'),
      ...towards(up.admin, 'b'),
    ]
    await expect(runKeyAction('upload', wrong.with(0, join(directory, 'sealed')))).rejects.toMatchObject({ code: 'sealed_key_wrong' })
    const worker = start(workerArgs(up.url))
    expect(JSON.parse(await worker.ready)).toMatchObject({
      ok: true,
      models: [{ name: 'sealed-demo', sealed: true, files: [{ sha256: `sha256:${demoSha256}` }] }],
    })
    worker.child.kill('SIGTERM')
    first.child.kill('SIGTERM')
    const ended = await first.ended
    expect(ended.code).toBe(0)
    expect(ended.err).toMatch(/NOT SEALED to anything/)
    expect(ended.err).toMatch(/released models\/sealed-demo\/1 version 1 to SIMULATED [0-9a-f]{64}/)
    const secret = (await readFile(join(directory, 'model.key'))).toString('base64').slice(0, 20)
    for (const text of [ended.err, ended.out, uploaded.out]) for (const word of [secret, credential]) expect(text).not.toContain(word)

    const again = start([...brokerArgs, '--root', 'w/root.pem', '--json'])
    const second = JSON.parse(await again.ready) as { url: string; admin: string }
    expect(second).toMatchObject({ store: { resources: 1 } })
    expect(await run(['model', 'revoke', 'sealed', ...atBroker(second.admin)])).toMatchObject({
      code: 0,
      out: expect.stringContaining('revoked: true') as string,
    })
    const refused = start(workerArgs(second.url))
    expect(await refused.ready).toMatch(/"kbs_refused"/)
    expect(await refused.ended).toMatchObject({ code: 1, err: expect.stringContaining('kbs_resource_revoked') as string })
    const audit = JSON.parse((await run(['model', 'audit', ...atBroker(second.admin), '--json'])).out) as {
      audit: { event: string }[]
      refusals: { code: string }[]
    }
    expect(audit.audit.map(({ event }) => event)).toEqual(['put', 'release', 'revoke'])
    expect(audit.refusals.map(({ code }) => code)).toEqual(['kbs_resource_revoked'])
    again.child.kill('SIGTERM')
    expect((await again.ended).code).toBe(0)
    expect(await readdir(memory)).toEqual([])
  }, 120_000)
})

describe.skipIf(noTmpfs)(`a worker whose sealed model does not load${noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''}`, () => {
  const publisher = generateEd25519()
  let sealed: string
  let key: Uint8Array
  beforeAll(async () => {
    sealed = join(directory, 'sealed-for-failures')
    key = new Uint8Array(32).fill(5)
    await sealModel({
      files: [demoPath],
      out: sealed,
      name: 'fails',
      modelVersion: 1,
      keyId: 'models/fails/1',
      modelKey: key,
      publisher: await publisher,
      chatTemplateDigest: null,
      licence: null,
      created: 1_790_000_000,
    })
    const weights = join(sealed, 'veritee-demo-q8_0.gguf.sealed')
    await cp(sealed, `${sealed}-short`, { recursive: true })
    await truncate(join(`${sealed}-short`, 'veritee-demo-q8_0.gguf.sealed'), (await stat(weights)).size - 262_160)
  })

  it.each<[string, { readonly value?: Uint8Array; readonly down?: boolean; readonly directory?: string; readonly args?: readonly string[] }, string]>(
    [
      ['broker down', { down: true }, 'service_unavailable'],
      ['broker without the key', {}, 'kbs_refused'],
      ['wrong key', { value: new Uint8Array(32).fill(6) }, 'sealed_key_wrong'],
      ['missing chunk', { value: new Uint8Array(32).fill(5), directory: '-short' }, 'sealed_file_size'],
      ['no memory file system', { value: new Uint8Array(32).fill(5), args: ['--memory-directory', '/proc'] }, 'model_memory_unavailable'],
    ],
  )('S12: %s: the code, no port, no ready line', async (title, { value, down = false, directory: suffix = '', args = [] }, code) => {
    const name = title.replaceAll(' ', '-')
    const state = join(directory, `state-${name}`)
    const up = await broker([...simulate(`broker-${name}`), ...withAdmin(), '--root', join(state, 'root.pem')])
    if (value !== undefined) {
      const file = join(directory, `${name}.key`)
      await writeFile(file, value, { mode: 0o600 })
      const terms = join(directory, `broker-${name}`, 'release-policy.json')
      const resource = ['--resource', 'models/fails/1', '--key', file, '--release-policy', terms]
      await runKeyAction('upload', [...resource, ...towards(up.ready.admin, `broker-${name}`)])
    }
    const probe = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, () => undefined)
    await probe.close()
    const { configuration } = await readConfiguration(workerSchema, {
      args: [
        ...['--tee', 'simulate', '--direct', '--state', state, '--port', String(probe.port), '--model', `sealed:${sealed}${suffix}`],
        ...['--publisher', toHex((await publisher).publicKey), '--broker', down ? 'https://127.0.0.1:1' : up.ready.url],
        ...(args.length > 0 ? args : ['--memory-directory', memory]),
      ],
      environment: {},
      readText: nodeFiles.readText,
    })
    if (configuration === null) throw new TypeError('no configuration')
    const starting = startWorkerProcess({ configuration, program: source, files: nodeFiles, report: () => undefined, now: () => new Date() })
    await expect(starting).rejects.toMatchObject({ code })
    await expect(send(`https://127.0.0.1:${probe.port}`, { method: 'GET', path: '/readyz' })).rejects.toMatchObject({ code: 'service_unavailable' })
    expect(await readdir(memory)).toEqual([])
  })
})

describe('what a broker does not start with', () => {
  it.each<[string, () => string[], string]>([
    ['without a word about the machine', () => ['--state', 'x'], 'config_invalid'],
    ['as an enclave from source', () => ['--tee', 'gramine', '--state', join(directory, 'g')], 'anchors_not_measured'],
    ['S13: roots from outside an enclave', () => ['--tee', 'gramine', '--state', join(directory, 'g'), '--root', 'x.pem'], 'anchors_not_measured'],
    ['S15: a simulated one beyond loopback', () => [...simulate('p'), '--host', '0.0.0.0'], 'usage'],
    ['S22: its admin interface beyond loopback', () => [...simulate('p'), ...withAdmin(), '--admin-host', '0.0.0.0'], 'usage'],
    ['a store that is a directory', () => [...simulate('p'), '--store', directory], 'file_unavailable'],
    ['a PCCS over plain HTTP elsewhere', () => [...simulate('p'), '--pccs', 'http://host.example/'], 'config_invalid'],
  ])('%s', async (_title, args, code) => {
    await expect(broker(args())).rejects.toMatchObject({ code })
  })

  it('S22: a short credential, or one from two places', async () => {
    await writeFile(join(directory, 'short'), 'short')
    await expect(broker([...simulate('p'), '--admin-token-file', join(directory, 'short')])).rejects.toMatchObject({ code: 'config_invalid' })
    await expect(broker([...simulate('p'), ...withAdmin()], [], { VERITEE_ADMIN_TOKEN: credential })).rejects.toMatchObject({
      code: 'config_invalid',
    })
  })

  it('S11: a store of another key; and it stays as it was', async () => {
    await (await broker(simulate('one'))).close()
    const { admin } = (await broker([...simulate('one'), ...withAdmin()])).ready
    await runKeyAction('upload', await upload(admin, 'one'))
    await running.pop()?.close()
    const before = await readFile(join(directory, 'one', 'store'))
    await rm(join(directory, 'one', 'store.key'))
    await expect(broker(simulate('one'))).rejects.toMatchObject({ code: 'broker_store_invalid' })
    expect(await readFile(join(directory, 'one', 'store'))).toEqual(before)
  })
})

async function upload(url: unknown, name: string, changes: { readonly [flag: string]: string } = {}): Promise<string[]> {
  const key = join(directory, 'some.key')
  await writeFile(key, Buffer.alloc(32, 7), { mode: 0o600 })
  const flags = { key, resource: 'models/some/1', 'release-policy': join(directory, name, 'release-policy.json'), ...changes }
  return [...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]), ...towards(url, name)]
}

describe('the model owner, as a command', () => {
  const said = async (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'done',
      (error: { code?: string }) => error.code ?? String(error),
    )

  it('S13, S14: refuses to send anything without a policy, to another program, over plain HTTP, or a key that is not that of the model', async () => {
    const lines: string[] = []
    const { admin } = (await broker([...simulate('o'), ...withAdmin()], lines)).ready
    const args = await upload(admin, 'o')
    const without = (flag: string): string[] => args.filter((_, i) => args[i] !== flag && args[i - 1] !== flag)
    for (const flag of ['--policy', '--broker', '--admin-token-file', '--key', '--release-policy', '--resource'])
      expect(await said(runKeyAction('upload', without(flag))), flag).toBe('usage')
    expect(await said(runKeyAction('upload', without('--root')))).toBe('chain_untrusted')
    const instead = (flag: string, value: string): string[] => args.map((arg, i) => (args[i - 1] === flag ? value : arg))
    expect(await said(runKeyAction('upload', instead('--policy', join(directory, 'o', 'release-policy.json'))))).toBe('policy_role_missing')
    const other = (await readFile(join(directory, 'o', 'policy.json'), 'utf8')).replace(
      /"mrenclave": "[0-9a-f]{64}"/,
      `"mrenclave": "${'ab'.repeat(32)}"`,
    )
    await writeFile(join(directory, 'other-policy.json'), other)
    expect(await said(runKeyAction('upload', instead('--policy', join(directory, 'other-policy.json'))))).toBe('policy_identity')
    expect(await said(runKeyAction('upload', instead('--broker', String(admin).replace('https', 'http'))))).toBe('usage')
    expect(await said(runKeyAction('upload', instead('--broker', 'https://127.0.0.1:1')))).toBe('service_unavailable')
    expect(await said(runKeyAction('upload', instead('--release-policy', join(directory, 'o', 'root.pem'))))).toBe('policy_invalid')
    expect(await said(runKeyAction('upload', [...args, '--evidence', 'none']))).toBe('usage')
    expect(await said(runKeyAction('upload', [...args, 'one', 'two']))).toBe('usage')
    expect(await said(runKeyAction('revoke', args))).toBe('usage')
    await writeFile(join(directory, 'wrong.token'), credential.replace('01', '02'))
    expect(await said(runKeyAction('upload', instead('--admin-token-file', join(directory, 'wrong.token'))))).toBe('broker_credential_invalid')
    // Of all that, nothing has arrived.
    expect((await runKeyAction('resources', towards(admin, 'o'))).result).toMatchObject({ resources: [] })
    expect(await said(runKeyAction('upload', args))).toBe('done')
    expect(await said(runKeyAction('upload', args))).toBe('broker_resource_exists')
    expect((await runKeyAction('rotate', args)).result).toMatchObject({ version: 2 })
    expect((await runKeyAction('rotate', without('--release-policy'))).result).toMatchObject({ version: 3 })
    expect(await said(runKeyAction('rotate', [...without('--release-policy'), '--evidence', 'quote']))).toBe('usage')
  })

  it('S22: without a credential there is no admin interface, and readiness tells what is simulated', async () => {
    const lines: string[] = []
    const up = await broker([...simulate('quiet'), '--metrics-port', '0'], lines)
    expect(up.ready.admin).toBeNull()
    expect(lines.join('\n')).not.toContain('admin interface')
    const ready = await send(up.ready.url, { method: 'GET', path: '/readyz' })
    expect(ready).toMatchObject({
      status: 200,
      json: { status: 'ready', notices: ['SIMULATED: nothing is protected', 'the key of the store is in a file'] },
    })
    expect(
      (await send(up.ready.url, { method: 'GET', path: '/admin/v1/resources', headers: { authorization: `Bearer ${credential}` } })).status,
    ).toBe(404)
  })
})

describe("with Trustee's clients", () => {
  it('evidence without collateral is judged with what a PCCS gives, fetched once for a machine; without one it is refused', async () => {
    const platform = await createSimPlatform({ at: new Date() })
    const pccs = await startPccs(platform.collateral)
    await writeFile(join(directory, 'machine.pem'), certificatePem(platform.root))
    const up = await broker([...simulate('t'), ...withAdmin(), '--root', join(directory, 'machine.pem'), '--pccs', pccs.url])
    const terms = join(directory, 'terms.json')
    await writeFile(terms, policyText())
    const key = join(directory, 'trustee.key')
    await writeFile(key, secret, { mode: 0o600 })
    const put = ['--resource', 'default/key/1', '--key', key, '--release-policy', terms, '--evidence', 'quote']
    await runKeyAction('upload', [...put, ...towards(up.ready.admin, 't')])
    const client = (url: string): TrusteeClientOptions => ({
      tee: 'sgx',
      quote: (reportData) => platform.quote(enclaves.worker, reportData),
      post: (path, headers, text) => send(url, { method: 'POST', path, headers, body: Buffer.from(text) }),
      get: (path, headers) => send(url, { method: 'GET', path, headers }),
    })
    expect(await trusteeClient('default/key/1', client(up.ready.url))).toEqual(secret)
    const asked = pccs.requests.length
    expect(asked).toBeGreaterThan(0)
    expect(await trusteeClient('default/key/1', client(up.ready.url))).toEqual(secret)
    expect(pccs.requests.length).toBe(asked)
    await pccs.close()
    const without = await broker([...simulate('u'), '--root', join(directory, 'machine.pem')])
    await expect(trusteeClient('default/key/1', client(without.ready.url))).rejects.toThrow('AttestationError')
    const down = await broker([...simulate('v'), '--root', join(directory, 'machine.pem'), '--pccs', pccs.url])
    await expect(trusteeClient('default/key/1', client(down.ready.url))).rejects.toThrow('AttestationError')
  })
})

it('exit codes and help of the commands', async () => {
  const ended = await Promise.all([
    run(['broker', '--help']),
    run(['model', 'upload', '--help']),
    run(['broker', '--unknown']),
    run(['model', 'upload', '--key', 'none']),
  ])
  expect(ended.map(({ code }) => code)).toEqual([0, 0, 2, 3])
  expect(ended[0]?.out).toContain('--admin-token-file FILE')
  expect(ended[1]?.out).toContain('veriteed model upload [MODEL]')
})
