import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { documentsOf } from '../../../../tools/test/epoch-documents.ts'
import { complaints } from '../../../../tools/test/schemas.ts'
import { freePortBase } from './free-ports.ts'

/** The demo command as a person runs it: exit codes, what is on stdout, what stays behind. */

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const command = ['--conditions=@veritee/source', join(root, 'packages/services/src/bin/veriteed.ts')]
const gguf = join(root, 'models/demo/veritee-demo-q8_0.gguf')
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-test-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Another program under the same Node. */
function run(args: readonly string[], env: { readonly [name: string]: string } = {}): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>()
  execFile(process.execPath, ['--conditions=@veritee/source', ...args], { env: { ...process.env, ...env } }, (error, out, err) =>
    resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err }),
  )
  return promise
}

function start(args: readonly string[], onOutput: (text: string, stop: (signal: NodeJS.Signals) => void) => void = () => undefined): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>()
  const child = spawn(process.execPath, [...command, ...args], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (part) => {
    out += String(part)
    onOutput(out, (signal) => child.kill(signal))
  })
  child.stderr.on('data', (part) => {
    err += String(part)
  })
  child.on('close', (code) => resolve({ code, out, err }))
  return promise
}

// Each test starts a whole network, on machines that may have much else to do.
describe('veriteed demo', { timeout: 240_000 }, () => {
  test('--once --json: one JSON document on stdout, the rest on stderr, exit 0', async () => {
    const base = Number(await freePortBase())
    const bundle = join(directory, 'epoch')
    const { code, out, err } = await start(['demo', '--once', '--json', '--port-base', String(base), '--out', bundle])
    expect(code).toBe(0)
    const demo = JSON.parse(out) as Record<string, Record<string, unknown>>
    const weights = createHash('sha256')
      .update(await readFile(gguf))
      .digest('hex')
    expect(demo).toMatchObject({
      ok: true,
      simulated: true,
      model: { name: 'veritee-demo', sha256: weights, sealed: true, notSealed: null },
      broker: {
        manifest: { name: 'veritee-demo', files: [{ sha256: `sha256:${weights}` }] },
        role: 'broker',
        verdict: { verdict: 'accepted', scope: 'policy', simulated: true },
        resource: { resource: 'models/veritee-demo/1', version: 1, revoked: false },
        released: { event: 'release', resource: 'models/veritee-demo/1', simulated: true },
        refused: { event: 'refusal', code: 'policy_identity' },
      },
      ports: { api: base, control: base + 1, broker: base + 2, workers: [base + 10] },
      admission: { manifest: { network: 'veritee-demo', manifest_version: 1 }, anchors: { threshold: 2 } },
      report: { role: 'controller', verdict: { verdict: 'accepted', scope: 'policy', simulated: true } },
      exchange: { outcome: 'verified' },
      epoch: {
        number: 0,
        dir: bundle,
        verified: { verdict: 'verified' },
        fraud: expect.arrayContaining([expect.objectContaining({ kind: 'model_contradicted' })]) as unknown,
      },
    })
    // S7, S13: worker and controller name the manifest under which they admitted each other; both quotes bind it.
    const keys: unknown = (demo.admission?.anchors as { keys?: unknown } | undefined)?.keys
    expect(demo).toMatchObject({ report: { document: { attestation: { evidence: { descriptor: { admission: { version: 1, keys } } } } } } })
    expect(keys).toHaveLength(3)
    expect(err).toContain('SIMULATED')
    expect(err).toContain('ALL VERIFIED')
    await expect(stat(join(directory, '.veritee', `demo-${base}`))).rejects.toMatchObject({ code: 'ENOENT' })
    const path = join(directory, 'demo.json')
    await writeFile(path, out)
    expect(await run([join(root, 'tools/check-demo.mjs'), path, gguf, '600'])).toEqual({ code: 0, out: '', err: '' })
    // What a user does with it, and with one digit of one record changed.
    const verifyEpoch = [join(root, 'packages/veritee/src/bin/veritee.ts'), 'epoch', 'verify', bundle]
    expect(await run(verifyEpoch)).toMatchObject({ code: 0, out: expect.stringContaining('VERIFIED: epoch 0') as string })
    const files = (await readdir(bundle, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
    const paths = files.map(({ parentPath, name }) => relative(bundle, join(parentPath, name)))
    const texts = new Map(await Promise.all(paths.map(async (path) => [path, await readFile(join(bundle, path), 'utf8')] as const)))
    for (const { schema, at, value } of documentsOf(texts)) expect([at, complaints(schema, value)]).toEqual([at, []])
    const records = join(bundle, 'validators', String(demo.validator?.key), 'records.jsonl')
    const kept = await readFile(records, 'utf8')
    const at = kept.lastIndexOf('"output_tokens":') + '"output_tokens":'.length
    await writeFile(records, `${kept.slice(0, at)}${kept[at] === '1' ? '2' : '1'}${kept.slice(at + 1)}`)
    const refused = await run(verifyEpoch)
    expect([refused.code, refused.out]).toEqual([1, expect.stringContaining('records.jsonl')])
    // The check can fail: here the refused program is said to have got the key.
    await writeFile(
      path,
      out.replaceAll(String(demo.broker?.released && (demo.broker.released as { measurement: string }).measurement), 'ab'.repeat(32)),
    )
    expect(await run([join(root, 'tools/check-demo.mjs'), path, gguf, '600'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('the quote of the worker') as string,
    })
  })

  test('--model PATH serves any GGUF under the name of its file', async () => {
    const path = join(directory, 'other-model.gguf')
    await copyFile(gguf, path)
    const { code, out } = await start(['demo', '--once', '--json', '--model', path, '--port-base', await freePortBase()])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ model: { name: 'other-model', file: 'other-model.gguf', sealed: true } })
  })

  test('a name that no sealed model can have: served plain, and said', async () => {
    const path = join(directory, 'other model.gguf')
    await copyFile(gguf, path)
    const { code, out, err } = await start(['demo', '--once', '--json', '--model', path, '--port-base', await freePortBase()])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      broker: null,
      urls: { broker: null },
      model: { sealed: false, notSealed: expect.stringContaining('name') as string },
    })
    expect(err).toContain('NOT SEALED')
  })

  test.for(['SIGINT', 'SIGTERM'] as const)('stays up, says how to talk to it, and %s stops it cleanly', async (signal) => {
    const base = await freePortBase()
    let signalled = false
    const { code, out, err } = await start(['demo', '--port-base', base], (text, stop) => {
      if (signalled || !text.includes('veritee chat')) return
      signalled = true
      stop(signal)
    })
    expect(err).toBe('')
    expect(code).toBe(0)
    expect(out).toContain(`curl http://127.0.0.1:${base}/v1/chat/completions`)
    expect(out).toContain('new OpenAI(')
    expect(out).toContain('stopping')
    expect(out.match(/SIMULATED/g)?.length).toBeGreaterThan(2)
  })

  test('what it prints works: the examples, and veritee chat and receipt verify with the files it wrote', async () => {
    const base = await freePortBase()
    const files = join(directory, '.veritee', `demo-${base}`)
    const results: { readonly [name: string]: Ended } = {}
    const { code } = await start(['demo', '--port-base', base], (text, stop) => {
      const nonce = /--nonce ([0-9a-f]{64})/.exec(text)?.[1]
      if (nonce === undefined || Object.keys(results).length > 0) return
      const trust = ['--policy', join(files, 'policy.json'), '--root', join(files, 'root.pem')]
      const env = { VERITEE_URL: `http://127.0.0.1:${base}`, VERITEE_DEMO: files }
      const veritee = join(root, 'packages/veritee/src/bin/veritee.ts')
      Object.assign(results, { started: { code: 0, out: '', err: '' } })
      void (async () => {
        Object.assign(results, {
          openai: await run([join(root, 'examples/openai.ts')], env),
          library: await run([join(root, 'examples/verified-chat.ts')], env),
          chat: await run([veritee, 'chat', '--url', env.VERITEE_URL, ...trust, 'Who are you?']),
          receipt: await run([
            veritee,
            'receipt',
            'verify',
            join(files, 'receipt.json'),
            '--report',
            join(files, 'report.json'),
            '--nonce',
            nonce,
            ...trust,
          ]),
        })
        stop('SIGINT')
      })()
    })
    expect(code).toBe(0)
    expect(results.openai).toMatchObject({ code: 0, out: expect.stringContaining('Remote attestation') as string })
    expect(results.library).toMatchObject({ code: 0, out: expect.stringContaining('SIMULATED verified: veritee-demo') as string })
    expect(results.chat).toMatchObject({
      code: 0,
      out: expect.stringContaining('Veritee Demo') as string,
      err: expect.stringContaining('SIMULATED verified') as string,
    })
    expect(results.receipt).toMatchObject({ code: 0, out: expect.stringContaining('ACCEPTED, SIMULATED') as string })
  })

  test('a busy port is one line and exit 3', async () => {
    const port = Number(await freePortBase())
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    const { code, out, err } = await start(['demo', '--once', '--json', '--port-base', String(port)])
    await new Promise((resolve) => server.close(resolve))
    expect(code).toBe(3)
    expect(JSON.parse(out)).toMatchObject({ ok: false, error: { code: 'port_unavailable' } })
    expect(err).toMatch(new RegExp(`port_unavailable: .*127\\.0\\.0\\.1:${port}.*another program`))
    expect(err).not.toMatch(/\n\s+at /)
  })

  test.for([
    [['demo', '--unknown'], 2, 'usage'],
    [['demo', '--port-base', '99999'], 2, 'usage'],
    [['demo', '--port-base', 'x'], 2, 'usage'],
    [['demo', '--once', '--out', root], 2, 'usage'],
    [['demo', 'surplus'], 2, 'usage'],
    [['demo', '--once', '--model', 'hf:malformed'], 2, 'usage'],
    [['nonsense'], 2, 'unknown command'],
    [[], 2, 'expected a command'],
    [['demo', '--once', '--model', '/nonexistent.gguf'], 3, 'model_unavailable'],
    [['demo', '--once', '--model', join(root, 'package.json')], 1, 'model_malformed'],
  ] as const)('%j exits %i', async ([args, expected, word]) => {
    const { code, err } = await start(args)
    expect({ code, line: err.trimEnd().split('\n').at(-1) }).toEqual({ code: expected, line: expect.stringContaining(word) as string })
    expect(err).not.toMatch(/\n\s+at /)
  })

  test('--help and --version', async () => {
    expect(await start(['--help'])).toMatchObject({ code: 0, out: expect.stringContaining('veriteed demo') as string })
    expect(await start(['demo', '--help'])).toMatchObject({ code: 0, out: expect.stringContaining('--port-base') as string })
    expect(await start(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string })
  })
})
