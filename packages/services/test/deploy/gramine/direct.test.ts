import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ask, chatBody } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { paths } from '../../../src/deploy/layout.ts'
import { readDocumentedKeys } from '../../../src/deploy/manifest/keys.ts'
import { lintManifest } from '../../../src/deploy/manifest/lint.ts'
import { sizeEnclave } from '../../../src/deploy/sizing.ts'
import { demoSha256 } from '../../engine/demo.ts'
import { forDirect, type Started, startDirect } from './direct.ts'
import { type Bundled, Ground } from './ground.ts'
import { installedGramine } from './installed.ts'

const gramine = installedGramine()
/** Gramine, and the right to mount and to change the root directory. */
function reason(): string {
  if (gramine === null) return ' (left out: Gramine 1.8 or 1.9 is not in PATH)'
  try {
    execFileSync('/usr/bin/unshare', ['--mount', '/usr/sbin/chroot', '/', '/bin/true'], { stdio: 'ignore' })
    return ''
  } catch {
    return ' (left out: nobody here may mount or change the root directory)'
  }
}
const left = reason()

let directory: string
let ground: Ground
beforeAll(async () => {
  if (gramine === null || left !== '') return
  directory = await mkdtemp(join(tmpdir(), 'veritee-gramine-'))
  ground = await Ground.make(directory, gramine)
}, 180_000)
afterAll(async () => {
  if (left === '') await rm(directory, { recursive: true, force: true })
})

/** What the process takes, as the kernel counts it, is within what the manifest says. */
async function expectWithin({ pid }: Started, role: Bundled): Promise<void> {
  const { enclaveBytes, maxThreads } = sizeEnclave(role, { weights: 0, context: 0, threads: 1 }, false)
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const figure = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1])
  expect(figure('Threads')).toBeGreaterThan(4)
  expect(figure('Threads')).toBeLessThanOrEqual(maxThreads)
  // Address space: without EDMM all of it is memory.
  expect(figure('VmPeak') * 1024).toBeLessThanOrEqual(enclaveBytes)
}

describe.skipIf(left !== '')(`S12, S13: under gramine-direct, by the manifest of its role, with a stand-in for the quote device${left}`, () => {
  it('a worker loads its model into tmpfs, answers and signs; its state is encrypted; it ends when it is told to', async () => {
    await ground.under('worker', 'worker', forDirect(await ground.rendered('worker')), async (started, root) => {
      const service = await ground.verified((await started.ready).url, 'worker')
      const answer = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0 }))
      expect(answer.proof).toMatchObject({ outcome: 'verified', simulated: true, model: { files: [{ sha256: `sha256:${demoSha256}` }] } })
      await expectWithin(started, 'worker')
      expect(await started.stop()).toBe(0)
      const state = join(root, paths.state)
      expect(await readdir(state)).toContain('receipts.db')
      for (const name of await readdir(state)) expect((await readFile(join(state, name))).includes('SQLite format'), name).toBe(false)
      // Nothing of the host was written but that.
      expect(await readdir(join(root, paths.models))).toEqual(['veritee-demo.gguf'])
      expect((await readdir(join(root, paths.configuration))).sort()).toEqual(['collateral.json', 'config.json'])
    })
  })

  it('a worker that starts again over its encrypted state has its receipts, under the keyset that signed them', async () => {
    await ground.under('again', 'worker', forDirect(await ground.rendered('worker')), async (first, root) => {
      const service = await ground.verified((await first.ready).url, 'worker')
      const { proof } = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0 }))
      expect(proof.outcome).toBe('verified')
      expect(await first.stop()).toBe(0)
      const second = startDirect(root)
      try {
        await ground.verified((await second.ready).url, 'worker')
        expect(second.said()).toContain(`1 receipts of earlier keysets in ${paths.state}/receipts.db`)
      } finally {
        await second.stop()
      }
    })
  })

  it.each(['controller', 'broker'] as const)('a %s: its report verifies, and it ends when it is told to', async (role) => {
    await ground.under(role, role, forDirect(await ground.rendered(role)), async (started) => {
      await ground.verified((await started.ready).url, role)
      await expectWithin(started, role)
      expect(await started.stop()).toBe(0)
    })
  })

  it.each(['worker', 'controller', 'broker'] as const)('a %s by its manifest as it is says that there is no quote device, and ends', async (role) => {
    await ground.under(`${role}-as-it-is`, role, await ground.rendered(role), async (started) => {
      await expect(started.ready).rejects.toThrow(/attestation_device_absent.*gramine-direct has not/)
      expect(await started.exited).toBe(2)
    })
  })

  it('a program that is not the one of the manifest does not run', async () => {
    const use = async (started: Started): Promise<void> => {
      await expect(started.ready).rejects.toThrow()
      expect(await started.exited).not.toBe(0)
      expect(started.said()).not.toContain('another program')
    }
    await ground.under('changed', 'controller', forDirect(await ground.rendered('controller')), use, async (root) => {
      const program = join(root, paths.bundle, 'controller.mjs')
      const text = await readFile(program, 'utf8')
      // Of the same length, and a name of its own: it was a second name of the bundle's file.
      await rm(program)
      await writeFile(program, 'console.log("another program")//'.padEnd(text.length, ' '))
    })
  })

  it('the linter refuses what was changed for this', async () => {
    const documented = await readDocumentedKeys(gramine?.version ?? '1.9')
    const { findings } = lintManifest(forDirect(await ground.rendered('worker')), { documented })
    expect([...new Set(findings.map(({ code }) => code))].sort()).toEqual(['allowed_file', 'insecure_keys', 'mount_unexpected'])
  })
})
