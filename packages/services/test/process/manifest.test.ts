import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeTransport, readBody } from 'veritee/client'
import { parseReport } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Running } from '../../src/process/run.ts'
import { openSetting, type Setting } from '../controller/admission/setting.ts'
import { startController } from './start.ts'

let directory: string
let setting: Setting
const running: Running[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-manifest-'))
  setting = await openSetting()
})
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(async () => {
  await setting.close()
  await rm(directory, { recursive: true, force: true })
})

const file = (): string => join(directory, 'manifest.json')
const args = (): string[] => [
  ...['--tee', 'simulate', '--state', join(directory, 'c'), '--port', '0', '--control-port', '0', '--manifest', file()],
  ...['--network', 'test', '--manifest-threshold', '2', ...setting.anchors.keys.flatMap((key) => ['--manifest-signer', key])],
]

async function controller(more: readonly string[] = args(), anchors?: string): Promise<Running> {
  const one = await startController(more, anchors === undefined ? {} : { anchors })
  running.push(one)
  return one
}

async function report(url: string): Promise<ReturnType<typeof parseReport>> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({ method: 'GET', path: '/v1/aci/attestation' })
    return parseReport(new TextDecoder().decode(await readBody(response, 1 << 20)))
  } finally {
    transport.close()
  }
}

describe('a controller under an admission manifest', () => {
  it('S7: names it in its descriptor; a newer one in the same file comes into force with new keys that name that', async () => {
    await writeFile(file(), await setting.manifest({ version: 1 }))
    const up = await controller()
    const first = await report(up.ready.url)
    expect(first.descriptor.admission).toMatchObject({ version: 1, keys: setting.anchors.keys })
    await writeFile(file(), await setting.manifest({ version: 2 }))
    await expect.poll(async () => (await report(up.ready.url)).descriptor.admission?.version, { timeout: 15_000, interval: 200 }).toBe(2)
    const second = await report(up.ready.url)
    expect(second.keysetDigest).not.toBe(first.keysetDigest)
    expect(second.descriptor.admission?.digest).not.toBe(first.descriptor.admission?.digest)
  })

  it.each<[string, () => Promise<string>, string]>([
    ['with too few signatures', () => setting.manifest({ signers: 1 }), 'admission_manifest_signatures_missing'],
    ['that has ended', () => setting.manifest({ to: -1 }), 'admission_manifest_expired'],
    ['that is none', async () => '{}', 'admission_manifest_malformed'],
    ['of simulated signers that nobody named', () => setting.manifest(), 'config_invalid'],
  ])('does not start under one %s', async (_, make, code) => {
    await writeFile(file(), await make())
    const asked = code === 'config_invalid' ? args().slice(0, -2 * setting.anchors.keys.length) : args()
    await expect(controller(asked)).rejects.toMatchObject({ code })
  })

  it('takes a manifest or a policy, not both', async () => {
    await writeFile(file(), await setting.manifest())
    await expect(controller([...args(), '--policy', 'p.json'])).rejects.toMatchObject({ code: 'config_invalid' })
  })
})

describe('S13: in an enclave', () => {
  const gramine = (): string[] => ['--tee', 'gramine', '--state', directory, '--manifest', file()]
  const anchors = (admission?: object): string =>
    JSON.stringify({
      version: 'veritee.anchors.v1',
      publishers: [],
      minimum_version: 0,
      policy: null,
      ...(admission === undefined ? {} : { admission }),
    })

  it.each([
    ['the network', ['--network', 'test']],
    ['signers', ['--manifest-signer', 'ab'.repeat(32)]],
    ['the threshold', ['--manifest-threshold', '2']],
    ['the lowest version', ['--minimum-manifest', '1']],
    ['a policy', ['--policy', 'p.json']],
  ])('%s from outside is refused', async (_, more) => {
    await expect(controller([...gramine(), ...more], anchors())).rejects.toMatchObject({ code: 'anchors_not_measured' })
  })

  it.each([
    ['no threshold', { network: 'test', keys: ['ab'.repeat(32)], threshold: 0, minimum_version: 0 }],
    ['a threshold beyond the keys', { network: 'test', keys: ['ab'.repeat(32)], threshold: 2, minimum_version: 0 }],
    ['no keys', { network: 'test', keys: [], threshold: 1, minimum_version: 0 }],
  ])('anchors with %s are refused', async (_, admission) => {
    await expect(controller(gramine(), anchors(admission))).rejects.toMatchObject({ code: 'config_invalid' })
  })
})
