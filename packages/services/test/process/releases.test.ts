import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import { connect, fetchText, nodeTransport, releasesPath } from 'veritee/client'
import { fail } from 'veritee/errors'
import { parsePolicy } from 'veritee/policy'
import { parseServedReleases } from 'veritee/release'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createMakers, enclaveOf, type Makers } from '../../../veritee/test/release/makers.ts'
import { simulatedEnclave } from '../../src/demo/measure.ts'
import { controllerPolicy, workerPolicy } from '../../src/demo/policy.ts'
import { nodeFiles } from '../../src/process/files.ts'
import { openReleaseFiles } from '../../src/process/release-files.ts'
import type { Running } from '../../src/process/run.ts'
import { release } from '../../src/release.ts'
import { openSetting, type Setting } from '../controller/admission/setting.ts'
import { startController, startWorker } from './start.ts'

let directory: string
let setting: Setting
let makers: Makers
const running: Running[] = []
const closing: (() => unknown)[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-releases-'))
  setting = await openSetting()
  makers = await createMakers(Math.floor(Date.now() / 1000) - 60)
  closing.push(
    () => setting.close(),
    () => rm(directory, { recursive: true, force: true }),
  )
})
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(async () => {
  for (const stop of closing.splice(0)) await stop()
})

const file = (): string => join(directory, 'release.json')
const code = '00'.repeat(32)
const of = (role: 'controller' | 'worker') => {
  const { mrenclave, isvProdId, isvSvn } = simulatedEnclave(role, code)
  return enclaveOf({ role, mrenclave, isv_prod_id: isvProdId, isv_svn: isvSvn, cpu_variant: null })
}
const statement = (changes: Parameters<Makers['statement']>[0] = {}): Promise<string> =>
  makers.statement({ release: release.version, enclaves: [of('controller')], ...changes })
const sequencesAt = async (url: string): Promise<number[]> => {
  const transport = nodeTransport(url)
  try {
    const shown = parseServedReleases(await fetchText(transport, { method: 'GET', path: releasesPath }, 1 << 20))
    return shown.map(({ statement: one }) => (JSON.parse(one) as { sequence: number }).sequence)
  } finally {
    transport.close()
  }
}
const demand = () => ({ identity: 'released', release: makers.demand }) as const

describe('S25: a service shows release statements, and judges by them', () => {
  const args = (): string[] => [
    ...['--tee', 'simulate', '--state', join(directory, 'c'), '--port', '0', '--control-port', '0', '--manifest', join(directory, 'manifest.json')],
    ...['--network', 'test', '--manifest-threshold', '2', ...setting.anchors.keys.flatMap((key) => ['--manifest-signer', key])],
    ...['--release-statement', file()],
  ]
  const controller = async (): Promise<Running> => {
    const one = await startController(args())
    running.push(one)
    return one
  }

  it('a client needs no file; a newer one arrives while it runs; an older one is refused, also after a restart', async () => {
    await writeFile(join(directory, 'manifest.json'), await setting.manifest({ worker: demand(), controller: demand() }))
    await writeFile(file(), await statement({ sequence: 8 }))
    const up = await controller()
    const { url, control } = up.ready as unknown as { readonly url: string; readonly control: string }
    expect([await sequencesAt(url), await sequencesAt(control)]).toEqual([[8], [8]])
    const roots = parsePem(await readFile(join(directory, 'c', 'root.pem'), 'utf8'))
    const transport = nodeTransport(url)
    const policy = {
      version: 'veritee.policy.v1',
      roles: { controller: { ...controllerPolicy(simulatedEnclave('controller', code), 'loopback'), ...demand() } },
    } as const
    const options = { policy, trust: { roots: [intelSgxRootCa, ...roots] }, role: 'controller', now: () => new Date() } as const
    const { verdict } = await connect(transport, options)
    transport.close()
    expect(verdict.checks.find(({ id }) => id === 'policy.release')).toMatchObject({ status: 'pass' })
    // What it publishes for clients is a policy document.
    expect(parsePolicy(await readFile(join(directory, 'c', 'policy.json'), 'utf8')).roles.worker).toMatchObject(demand())
    await writeFile(file(), await statement({ sequence: 9 }))
    await expect.poll(() => sequencesAt(url), { timeout: 30_000 }).toEqual([9])
    await up.close()
    running.pop()
    await writeFile(file(), await statement({ sequence: 8 }))
    await expect(controller()).rejects.toMatchObject({ code: 'release_rolled_back' })
    await writeFile(file(), await statement({ sequence: 10 }))
    expect(await sequencesAt((await controller()).ready.url)).toEqual([10])
  })

  it('a worker', async () => {
    await writeFile(file(), await statement({ enclaves: [of('worker')] }))
    const state = join(directory, 'w')
    const one = await startWorker(['--tee', 'simulate', '--state', state, '--port', '0', '--model', 'demo', '--release-statement', file()])
    running.push(one)
    expect(await sequencesAt(one.ready.url)).toEqual([7])
    const roots = parsePem(await readFile(join(state, 'root.pem'), 'utf8'))
    const policy = {
      version: 'veritee.policy.v1',
      roles: { worker: { ...workerPolicy(simulatedEnclave('worker', code), {}), models: 'any', ...demand() } },
    } as const
    const transport = nodeTransport(one.ready.url)
    const asked = connect(transport, { policy, trust: { roots: [intelSgxRootCa, ...roots] }, role: 'worker', now: () => new Date() })
    // The statement is of a worker without an engine; this one has one.
    await expect(asked).rejects.toMatchObject({ code: 'release_measurement_unknown' })
    transport.close()
  })

  it.each([
    ['that is not there', null, 'file_unavailable'],
    ['that is none', '{}', 'release_statement_malformed'],
  ])('does not start with one %s', async (_, text, expected) => {
    await rm(file(), { force: true })
    if (text !== null) await writeFile(file(), text)
    await expect(controller()).rejects.toMatchObject({ code: expected })
  })
})

describe('the files of release statements', () => {
  it('are read with the proofs beside them; what is refused later is told once, and what was there stays', async () => {
    const told: string[] = []
    const taken: number[] = []
    const path = join(directory, 'followed.json')
    const logged = await makers.inLog(await statement())
    await writeFile(path, logged.statement)
    await writeFile(`${path}.tlog-proof`, logged.proof ?? '')
    const take = async (documents: readonly { readonly proof: string | null }[]): Promise<void> => {
      if (taken.length > 1) throw fail('release_expired', 'too old')
      taken.push(documents.length)
    }
    const followed = await openReleaseFiles({ paths: [path], files: nodeFiles, report: (line) => void told.push(line), take })
    closing.push(() => followed.stop())
    expect(parseServedReleases(followed.shown()).map(({ proof }) => proof)).toEqual([logged.proof])
    await followed.check()
    expect([taken, told]).toEqual([[1], []])
    // The proof alone is news too.
    await rm(`${path}.tlog-proof`)
    await followed.check()
    expect([taken, parseServedReleases(followed.shown())[0]?.proof, told]).toEqual([
      [1, 1],
      null,
      [expect.stringContaining('other release statements')],
    ])
    for (const [text, why] of [
      ['{}', 'release_statement_malformed'],
      [await statement({ sequence: 8 }), 'release_expired'],
    ] as const) {
      await writeFile(path, text)
      for (let i = 0; i < 2; i++) await followed.check()
      expect(told.filter((line) => line.includes(why))).toHaveLength(1)
      expect(followed.shown()).toContain('"sequence":7')
    }
    await rm(path)
    await followed.check()
    expect(told.at(-1)).toContain('file_unavailable')
  })

  it('none: an empty list', async () => {
    const none = await openReleaseFiles({ paths: [], files: nodeFiles, report: () => undefined, take: () => Promise.reject(new TypeError('nobody')) })
    await none.check()
    none.stop()
    expect(parseServedReleases(none.shown())).toEqual([])
  })
})
