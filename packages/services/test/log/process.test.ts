import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fromUtf8, leafHash, toHex, utf8 } from 'veritee/bytes'
import { type KeyType, noteSigner, parseLogTrust, verifierKeyText, verifyTlogProof } from 'veritee/log'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { keyCommand } from '../../src/bin/commands/log-keygen.ts'
import { logSchema, witnessSchema } from '../../src/config/log.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { requestBytes } from '../../src/http/request-bytes.ts'
import { makePublisherKey, readPublisherKey } from '../../src/models/sealing/keys.ts'
import { nodeFiles } from '../../src/process/files.ts'
import { startLogProcess } from '../../src/process/log.ts'
import type { Program } from '../../src/process/program.ts'
import type { Running } from '../../src/process/run.ts'
import { startWitnessProcess } from '../../src/process/witness.ts'
import { scratch } from './logs.ts'

const veriteed = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
const token = 'a-token-that-nobody-would-ever-guess-0123456789'
const environment = { VERITEE_LOG_WRITE_TOKEN: token }
const running: Running[] = []
afterEach(async () => {
  for (const one of running.splice(0)) await one.close()
})

const options = { program: {} as Program, files: nodeFiles, report: () => undefined, now: () => new Date() }

async function startLog(args: readonly string[]): Promise<Running> {
  const { configuration } = await readConfiguration(logSchema, { args, environment, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  const started = await startLogProcess({ configuration, ...options })
  running.push(started)
  return started
}

async function startWitness(args: readonly string[]): Promise<Running> {
  const { configuration } = await readConfiguration(witnessSchema, { args, environment: {}, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  const started = await startWitnessProcess({ configuration, ...options })
  running.push(started)
  return started
}

async function keyIn(path: string, name: string, type: KeyType): Promise<string> {
  await makePublisherKey(path)
  return verifierKeyText((await noteSigner(name, type, await readPublisherKey(path))).verifier)
}

const post = (url: string, body: Uint8Array) =>
  requestBytes(url, { method: 'POST', body, headers: { authorization: `Bearer ${token}` }, timeoutMs: 30_000, maxBytes: 1 << 20 })
const get = async (url: string): Promise<{ status: number; text: string }> => {
  const { status, bytes } = await requestBytes(url, { method: 'GET', timeoutMs: 30_000, maxBytes: 1 << 20 })
  return { status, text: fromUtf8(bytes) }
}

/** Asks until it is there. */
async function until(url: string): Promise<string> {
  for (;;) {
    const { status, text } = await get(url)
    if (status === 200) return text
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

describe('veriteed log and veriteed witness', () => {
  it('run, and give a proof that verifies; killed, the log goes on where it was; one directory has one process', async () => {
    const directory = await scratch()
    const logKey = await keyIn(join(directory, 'log.pem'), 'log.example/x', 'ed25519')
    const witnessKey = await keyIn(join(directory, 'w.pem'), 'w.example', 'cosignature')
    const witness = await startWitness([
      ...['--data', join(directory, 'w'), '--key', join(directory, 'w.pem'), '--name', 'w.example', '--log', logKey, '--port', '0'],
    ])
    expect(witness.ready.key).toBe(witnessKey)
    const args = [
      ...['--data', join(directory, 'l'), '--key', join(directory, 'log.pem'), '--origin', 'log.example/x', '--port', '0'],
      ...['--witness', `${witnessKey} ${witness.ready.url}`, '--quorum', '1', '--interval-ms', '100'],
    ]
    const child = spawn(process.execPath, ['--conditions=@veritee/source', veriteed, 'log', ...args, '--json'], {
      env: { PATH: process.env.PATH ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const ended = new Promise((resolve) => child.once('close', resolve))
    try {
      const line = await new Promise<string>((resolve) => child.stdout.once('data', (part) => resolve(String(part))))
      const { url, key } = JSON.parse(line) as { url: string; key: string }
      expect(key).toBe(logKey)
      expect((await post(`${url}/add-entry`, utf8('one'))).status).toBe(200)
      await expect(startLog(args)).rejects.toMatchObject({ code: 'file_unavailable' })
    } finally {
      child.kill('SIGKILL')
      await ended
    }
    const again = await startLog(args)
    expect(again.ready.size).toBe(1)
    await post(`${again.ready.url}/add-entry`, utf8('two'))
    const proof = await until(`${again.ready.url}/proof/${toHex(await leafHash(utf8('two')))}`)
    const trust = await parseLogTrust({ origin: 'log.example/x', key: logKey, witnesses: [witnessKey], quorum: 1 })
    expect(await verifyTlogProof(proof, utf8('two'), trust)).toMatchObject({ index: 1, checkpoint: { size: 2 } })
    expect(await readFile(join(directory, 'l', 'public', 'checkpoint'), 'utf8')).toContain('\n2\n')
    expect((await get(`${again.ready.url}/readyz`)).status).toBe(200)
    expect((await get(`${witness.ready.url}/readyz`)).status).toBe(200)
  }, 120_000)

  it('keygen makes a key that nobody else can read and prints what others need of it; vkey prints it again', async () => {
    const path = join(await scratch(), 'key.pem')
    const printed: string[] = []
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0)
    try {
      expect(await keyCommand(['keygen', '--key', path, '--name', 'w.example'], 'cosignature', 'name')).toBe(0)
      expect(await keyCommand(['vkey', '--key', path, '--name', 'w.example', '--json'], 'cosignature', 'name')).toBe(0)
    } finally {
      write.mockRestore()
    }
    const [vkey = '', json = ''] = printed
    expect(JSON.parse(json)).toEqual({ ok: true, key: vkey.trim() })
    await expect(keyCommand(['keygen', '--key', path, '--name', 'w.example'], 'cosignature', 'name')).rejects.toMatchObject({
      code: 'file_unavailable',
    })
    await expect(keyCommand(['vkey', '--key', path, '--name', 'a b'], 'cosignature', 'name')).rejects.toMatchObject({ code: 'usage' })
    await expect(keyCommand(['keygen', '--key', path], 'cosignature', 'name')).rejects.toMatchObject({ code: 'usage' })
    expect(await keyCommand(['--data', 'x'], 'cosignature', 'name')).toBeNull()
  })

  it.each<[string, readonly string[], string]>([
    ['a quorum beyond the witnesses', ['--quorum', '1'], 'config_invalid'],
    ['no quorum', [], 'config_invalid'],
    ['what is no key for a witness', ['--quorum', '1', '--witness', 'a+00000000+AQ== http://127.0.0.1:1'], 'log_key_malformed'],
    ['operators and anybody', ['--quorum', '0', '--any-submitter', '--operator', 'a'.repeat(64)], 'config_invalid'],
    ['a key that is not there', ['--quorum', '0'], 'file_unavailable'],
    ['S22: beyond loopback without a word', ['--quorum', '0', '--host', '0.0.0.0'], 'usage'],
  ])('refused: %s', async (_, more, code) => {
    const directory = await scratch()
    const args = ['--data', join(directory, 'l'), '--key', join(directory, 'none.pem'), '--origin', 'x.example', '--port', '0', ...more]
    await expect(startLog(args)).rejects.toMatchObject({ code })
  })

  it.each<[string, (logKey: string, witnessKey: string) => readonly string[]]>([
    ['no log', () => []],
    ['one log twice', (logKey) => ['--log', logKey, '--log', logKey]],
    ['the key of a witness', (_, witnessKey) => ['--log', witnessKey]],
  ])('a witness is refused: %s', async (_, more) => {
    const directory = await scratch()
    const logKey = await keyIn(join(directory, 'log.pem'), 'log.example/x', 'ed25519')
    const witnessKey = await keyIn(join(directory, 'w.pem'), 'w.example', 'cosignature')
    const args = ['--data', join(directory, 'w'), '--key', join(directory, 'w.pem'), '--name', 'w.example', '--port', '0']
    await expect(startWitness([...args, ...more(logKey, witnessKey)])).rejects.toMatchObject({ code: 'config_invalid' })
  })
})
