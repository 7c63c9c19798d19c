import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { certificatePem } from 'veritee/attestation/issue'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'

/** Each file of `examples/` as a person runs it, against a whole network; and what goes through the proxy. */

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const conditions = '--conditions=@veritee/source'
const has = (command: string, ...args: string[]): boolean => {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
const curl = has('curl', '--version')
const python = has('python3', '-c', 'import openai')

let network: Network
let directory: string
beforeAll(async () => {
  network = await startNetwork()
  directory = await mkdtemp(join(tmpdir(), 'veritee-examples-'))
  await writeFile(join(directory, 'policy.json'), JSON.stringify(network.policy))
  await writeFile(join(directory, 'root.pem'), certificatePem(network.machine.platform.root))
}, 60_000)
afterAll(async () => {
  await network.close()
  await rm(directory, { recursive: true, force: true })
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function run(program: string, args: readonly string[], env: { readonly [name: string]: string } = {}): Promise<Ended> {
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, VERITEE_URL: network.controller.api.url, VERITEE_DEMO: directory, NO_PROXY: '*', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return ended(child)
}

function ended(child: ChildProcess): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>()
  let [out, err] = ['', '']
  child.stdout?.on('data', (part) => {
    out += String(part)
  })
  child.stderr?.on('data', (part) => {
    err += String(part)
  })
  child.once('error', reject).once('close', (code) => resolve({ code, out, err }))
  return promise
}

const example = (name: string): Promise<Ended> => run(process.execPath, [conditions, `examples/${name}`])
const about = 'Remote attestation'

describe('examples', { timeout: 60_000 }, () => {
  test.each([
    ['openai.ts', [about, 'SIMULATED: Verified. This is exactly the answer that was signed']],
    ['openai-responses.ts', [about, 'tokens', '[verified: veritee-demo]']],
    ['ai-sdk.ts', [about, '{"city":', '[verified: veritee-demo]']],
    ['langchain.ts', [about, '{"city":', '[verified: veritee-demo]']],
    ['encrypted.ts', ['Veritee Demo', 'Encrypted to the worker', 'SIMULATED: Verified']],
    ['verified-chat.ts', ['SIMULATED verified: veritee-demo']],
  ])('%s', async (name, expected) => {
    const { code, out, err } = await example(name)
    expect([code, err]).toEqual([0, ''])
    for (const text of expected) expect(out).toContain(text)
  })

  test.each(['openai.ts', 'openai-responses.ts', 'ai-sdk.ts', 'langchain.ts', 'encrypted.ts'])(
    '%s sends nothing to a service that the policy does not want',
    async (name) => {
      const strict = await mkdtemp(join(directory, 'strict-'))
      const { controller, worker } = network.policy.roles
      await writeFile(
        join(strict, 'policy.json'),
        JSON.stringify({ ...network.policy, roles: { worker, controller: { ...controller, identity: worker?.identity } } }),
      )
      await writeFile(join(strict, 'root.pem'), certificatePem(network.machine.platform.root))
      const { code, out, err } = await run(process.execPath, [conditions, `examples/${name}`], { VERITEE_DEMO: strict })
      expect([code, out, err]).toEqual([1, '', expect.stringContaining('policy_identity')])
    },
  )
})

describe('examples without an SDK', { timeout: 60_000 }, () => {
  test('verify-quote.ts judges a quote under the real root alone', async () => {
    const nonce = 'ab'.repeat(32)
    const report = (await (await fetch(`${network.controller.api.url}/v1/aci/attestation?nonce=${nonce}`)).json()) as Report
    const { quote_b64: quote, collateral } = report.attestation.evidence
    await writeFile(join(directory, 'quote.bin'), Buffer.from(quote, 'base64'))
    await writeFile(join(directory, 'collateral.json'), JSON.stringify(collateral))
    const { code, out } = await run(process.execPath, [
      conditions,
      'examples/verify-quote.ts',
      join(directory, 'quote.bin'),
      join(directory, 'collateral.json'),
    ])
    expect([code, out]).toEqual([1, expect.stringContaining('rejected chain_untrusted')])
  })

  test('browser/chat/serve.ts serves the page and passes the API on', async () => {
    const env = { ...process.env, VERITEE_URL: network.controller.api.url, PORT: '0' }
    const child = spawn(process.execPath, [conditions, 'examples/browser/chat/serve.ts'], { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      let out = ''
      for await (const part of child.stdout as AsyncIterable<Buffer>) {
        out += String(part)
        if (out.includes('\n')) break
      }
      const url = /^(http:\/\/127\.0\.0\.1:\d+)\//.exec(out)?.[1] ?? ''
      const page = await (await fetch(url)).text()
      expect(page).toContain('A chat, verified in this page')
      const script = /src="([^"]+\.js)"/.exec(page)?.[1] ?? ''
      expect((await fetch(`${url}${script}`)).headers.get('content-type')).toBe('text/javascript')
      expect(await (await fetch(`${url}/v1/models`)).json()).toMatchObject({ data: [{ id: 'veritee-demo' }] })
    } finally {
      child.kill('SIGKILL')
    }
  })
})

interface Report {
  readonly attestation: { readonly evidence: { readonly quote_b64: string; readonly collateral: unknown } }
}

interface RunningProxy {
  readonly child: ChildProcess
  readonly url: string
  readonly log: () => string
}

/** The command as a person starts it, on a port that is free. */
async function startProxy(policy: string, ...more: string[]): Promise<RunningProxy> {
  const trust = ['--policy', policy, '--root', join(directory, 'root.pem')]
  const args = [
    conditions,
    'packages/veritee/src/bin/veritee.ts',
    'proxy',
    '--upstream',
    network.controller.api.url,
    ...trust,
    '--port',
    '0',
    '--json',
  ]
  const child = spawn(process.execPath, [...args, ...more], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stderr.on('data', (part) => {
    err += String(part)
  })
  const ready = Promise.withResolvers<string>()
  child.stdout.on('data', (part) => {
    out += String(part)
    const listening = /"listening": "([^"]+)"/.exec(out)?.[1]
    if (listening !== undefined) ready.resolve(listening)
  })
  child.once('exit', (code) => ready.reject(new Error(`the proxy ended with ${code}: ${err}`)))
  return { child, url: await ready.promise, log: () => err }
}

describe('through the proxy', { timeout: 60_000 }, () => {
  let proxy: RunningProxy
  beforeAll(async () => {
    proxy = await startProxy(join(directory, 'policy.json'), '--save', join(directory, 'kept'))
  }, 60_000)
  afterAll(() => {
    proxy.child.kill('SIGKILL')
  })

  test.skipIf(!curl)(`curl${curl ? '' : ' (left out: there is no curl)'}`, async () => {
    const { code, out, err } = await run('sh', ['examples/proxy.sh'], { VERITEE_PROXY: proxy.url })
    expect([code, err]).toEqual([0, ''])
    const [answer = '', proofs = ''] = out.trim().split('\n')
    expect(JSON.parse(answer)).toMatchObject({ choices: [{ message: { content: expect.stringContaining('Veritee Demo') as string } }] })
    expect(JSON.parse(proofs)).toMatchObject({ proofs: [{ status: 'verified', simulated: true, model: { name: 'veritee-demo' } }] })
  })

  test('S4: answers of a worker to which bodies are encrypted are saved, and veritee audit judges them, with their bodies where those were asked for', async () => {
    for (const bodies of [false, true]) {
      const kept = join(directory, `sealed-${bodies}`)
      const sealed = await startProxy(join(directory, 'policy.json'), '--encrypt-to', 'worker', '--save', kept, ...(bodies ? ['--save-bodies'] : []))
      for (const stream of [false, true]) {
        const body = JSON.stringify({ model: 'veritee-demo', stream, max_tokens: 8, messages: [{ role: 'user', content: 'Who are you?' }] })
        const headers = { 'content-type': 'application/json' }
        const answer = await fetch(`${sealed.url}/v1/chat/completions`, { method: 'POST', headers, body })
        expect([answer.status, (await answer.text()).length > 0]).toEqual([200, true])
      }
      await expect.poll(async () => (await readdir(kept)).filter((name) => name.endsWith('.drawn.json')).length).toBe(2)
      const exited = new Promise((resolve) => sealed.child.once('exit', resolve))
      sealed.child.kill('SIGTERM')
      await exited
      const audited = async (...more: string[]) =>
        run(process.execPath, [
          conditions,
          'packages/veritee/src/bin/veritee.ts',
          'audit',
          ...more,
          '--policy',
          join(directory, 'stored.json'),
          '--root',
          join(directory, 'root.pem'),
        ])
      // When the nonces of stored evidence were drawn nobody can tell.
      const stored = {
        ...network.policy,
        roles: Object.fromEntries(Object.entries(network.policy.roles).map(([role, of]) => [role, { ...of, maxAttestationAge: 'any' }])),
      }
      await writeFile(join(directory, 'stored.json'), JSON.stringify(stored))
      const folder = await audited(kept)
      expect([folder.code, folder.err]).toEqual([0, ''])
      const [bundle = ''] = (await readdir(kept)).filter((name) => name.endsWith('.bundle')).sort()
      const { out } = await audited(join(kept, bundle))
      expect(out).toMatch(/receipt\.request +over the encrypted bytes, which the bundle does not hold/)
      expect(out).toContain(
        `signed by the worker, to which the body was sealed${bodies ? ', over exactly these bytes' : ': the bundle does not hold both bodies'}`,
      )
      // Another answer than the worker signed is found out by the bodies alone.
      const text = await readFile(join(kept, bundle), 'utf8')
      const changed = text.replace(/"response_b64":"[^"]+"/, `"response_b64":"${Buffer.from('another').toString('base64')}"`)
      await writeFile(join(directory, 'changed.bundle'), changed)
      expect((await audited(join(directory, 'changed.bundle'))).code).toBe(bodies ? 1 : 0)
    }
  })

  test.skipIf(!python)(`Python${python ? '' : ' (left out: python3 has no package openai)'}`, async () => {
    const { code, out, err } = await run('python3', ['examples/proxy.py'], { VERITEE_PROXY: proxy.url })
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain(about)
    expect(out).toMatch(/\[SIMULATED verified: veritee-demo, weights sha256:[0-9a-f]{64}\]/)
  })

  test.skipIf(!python)(
    `Python gets an error for what is rejected, and does not ask again${python ? '' : ' (left out: python3 has no package openai)'}`,
    async () => {
      const path = join(directory, 'other-weights.json')
      const { controller, worker } = network.policy.roles
      const roles = { controller, worker: { ...worker, models: { 'veritee-demo': [`sha256:${'ab'.repeat(32)}`] } } }
      await writeFile(path, JSON.stringify({ ...network.policy, roles }))
      const strict = await startProxy(path)
      const { code, err } = await run('python3', ['examples/proxy.py'], { VERITEE_PROXY: strict.url })
      const exited = new Promise((resolve) => strict.child.once('exit', resolve))
      strict.child.kill('SIGTERM')
      await exited
      expect([code, err]).toEqual([1, expect.stringContaining("openai.APIError: the model or its weights are not on the policy's list")])
      const lines = strict.log().trim().split('\n')
      expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([{ code: 'policy_models', proof: 'rejected' }])
    },
  )

  test('what it kept satisfies veritee audit, and neither log nor files hold a prompt or an answer', async () => {
    const response = await fetch(`${proxy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'veritee-demo', messages: [{ role: 'user', content: 'Who are you, my secret friend?' }] }),
    })
    expect(response.status).toBe(200)
    const id = response.headers.get('x-receipt-id') ?? ''
    await response.text()
    await expect.poll(() => proxy.log(), { timeout: 10_000 }).toContain(id)
    expect(
      proxy
        .log()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as object),
    ).toContainEqual(expect.objectContaining({ proof: 'verified', simulated: true, model: 'veritee-demo', status: 200, receipt: id }))
    expect(proxy.log()).not.toMatch(/secret friend|Remote attestation|tiny language model/)
    const audit = [conditions, 'packages/veritee/src/bin/veritee.ts', 'audit', join(directory, 'kept')]
    const { code, out, err } = await run(process.execPath, [
      ...audit,
      '--policy',
      join(directory, 'policy.json'),
      '--root',
      join(directory, 'root.pem'),
    ])
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/ACCEPTED, SIMULATED: (\d) of \1 bundles accepted/)
    expect(has('grep', '-rlE', 'secret friend|c2VjcmV0IGZyaWVuZ', join(directory, 'kept'))).toBe(false)
  })

  test('SIGTERM ends it cleanly', async () => {
    const closed = new Promise<number | null>((resolve) => proxy.child.once('exit', resolve))
    proxy.child.kill('SIGTERM')
    expect(await closed).toBe(0)
  })
})
