import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventOf } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runDemo } from '../../src/demo/demo.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { freePortBase } from './free-ports.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000

/** The sealed model in the demo: what lies on disks while it runs, and what happens where it cannot be sealed or the run is broken off. */

const root = fileURLToPath(new URL('../../../../', import.meta.url))
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-demo-sealed-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const free = { api: 0, control: 0, broker: 0, workers: [0] }
const options = { once: true, json: false, out: null, model: 'demo', ports: free }

async function filesBelow(path: string): Promise<{ readonly name: string; readonly bytes: Buffer }[]> {
  const entries = (await readdir(path, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  return Promise.all(entries.map(async (entry) => ({ name: entry.name, bytes: await readFile(join(entry.parentPath, entry.name)) })))
}

describe.skipIf(noTmpfs)(`the sealed model of the demo${noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''}`, () => {
  it('S12: while it serves, its ciphertext lies on the disk and no run of the weights does; afterwards nothing does', async () => {
    const child = spawn(
      process.execPath,
      ['--conditions=@veritee/source', join(root, 'packages/services/src/bin/veriteed.ts'), 'demo', '--port-base', await freePortBase()],
      { cwd: directory, env: { PATH: process.env.PATH ?? '', HOME: directory, TMPDIR: directory }, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    let out = ''
    const up = Promise.withResolvers<void>()
    child.stdout.on('data', (part) => {
      out += String(part)
      if (out.includes('veritee chat')) up.resolve()
    })
    child.stderr.on('data', (part) => {
      out += String(part)
    })
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
    void ended.then(() => up.resolve())
    await up.promise
    const files = await filesBelow(directory)
    expect(
      files.map(({ name }) => name),
      out,
    ).toEqual(expect.arrayContaining(['manifest.json', 'veritee-demo-q8_0.gguf.sealed', 'policy.json']))
    const plain = await readFile(demoPath)
    let runs = 0
    for (let at = 1000; at + 32 <= plain.length; at += 997) {
      const part = plain.subarray(at, at + 32)
      if (new Set(part).size < 12) continue
      runs++
      expect(files.some(({ bytes }) => bytes.includes(part)) || out.includes(part.toString('latin1'))).toBe(false)
    }
    expect(runs).toBeGreaterThan(500)
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(await filesBelow(directory)).toEqual([])
  })

  it.each([
    ['no file system in memory', { memoryDirectory: '/proc', directories: [tmpdir()] }, 'no file system in memory'],
    ['no place for the ciphertext', { memoryDirectory: '/dev/shm', directories: ['/proc'] }, 'its ciphertext needs'],
  ])('S12: where there is %s, the plain file is served, and receipts say so', async (_title, places, why) => {
    const lines: string[] = []
    const result = await runDemo(options, (line) => lines.push(line), process.stderr, { places })
    try {
      expect(result.release).toContain(why)
      expect(lines.join('\n')).toContain('NOT SEALED')
      expect(result.answer.proof.model).toMatchObject({ sealed: false, files: [{ sha256: `sha256:${demoSha256}` }] })
    } finally {
      await result.close()
    }
  })

  it('S13: the key is released to the worker that serves, and its receipt says that the model was sealed', async () => {
    const result = await runDemo(options, () => undefined, process.stderr)
    try {
      const { release, machine, answer } = result
      if (typeof release === 'string') throw new Error(release)
      expect(release.released).toMatchObject({ event: 'release', measurement: machine.enclaves.worker.mrenclave, simulated: true })
      expect(release.refused).toMatchObject({ event: 'refusal', measurement: machine.enclaves.changedWorker.mrenclave, code: 'policy_identity' })
      const receipt = answer.proof.worker?.receipt
      expect(receipt && eventOf(receipt, 'veritee.model')).toMatchObject({ sealed: true, files: [{ sha256: `sha256:${demoSha256}` }] })
      // The admin interface was for the owner, and is gone.
      await expect(release.upload.admin.audit()).rejects.toMatchObject({ code: 'service_unavailable' })
    } finally {
      await result.close()
    }
  })

  it('a run that is called off while it seals leaves nothing', async () => {
    const place = await mkdtemp(join(directory, 'called-off-'))
    const places = { memoryDirectory: '/dev/shm', directories: [place] }
    await expect(runDemo(options, () => undefined, process.stderr, { places, signal: AbortSignal.abort() })).rejects.toThrow()
    expect(await readdir(place)).toEqual([])
  })
})
