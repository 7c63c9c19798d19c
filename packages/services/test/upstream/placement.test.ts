import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { intelSgxRootCa } from 'veritee/attestation'
import { certificatePem } from 'veritee/attestation/issue'
import { evaluateReport, parseReport, verifyReport } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AttestationDevice } from '../../src/enclave/runtime/attestation-device.ts'
import { openGramineDevice } from '../../src/enclave/runtime/gramine-device.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice, createSimTdDevice } from '../../src/enclave/runtime/sim-device.ts'
import { openUpstreamModel, placementOf, placeUpstream, type UpstreamModel, type UpstreamOptions } from '../../src/enclave/worker/upstream/index.ts'
import type { MeasuredSources } from '../../src/enclave/worker/upstream/place/measured-files.ts'
import type { MountView, VerityDevice } from '../../src/enclave/worker/upstream/place/measured-mount.ts'
import { createWorker, type Worker } from '../../src/enclave/worker/worker.ts'
import { type FakeEngine, fakeEngine } from './fake-engine.ts'
import { digest, machine, now, policyOf, td } from './upstream-worker.ts'
import { bytesOf, superblock, vectors } from './verity-vectors.ts'

const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
// The bytes of its device, and what `veritysetup format` says that they hash to.
const rootHash: string = vectors.two.root
const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`

let engine: FakeEngine
let folder: string
beforeAll(async () => {
  engine = await fakeEngine('vllm', () => undefined)
  folder = await realpath(await mkdtemp(join(tmpdir(), 'veritee-image-')))
  await writeFile(join(folder, 'vllm'), 'the engine')
  await mkdir(join(folder, 'model'))
  await writeFile(join(folder, 'model', 'model.safetensors'), 'weights')
  await writeFile(join(folder, 'model', 'config.json'), '{}')
})
afterAll(async () => {
  await engine.close()
  await rm(folder, { recursive: true, force: true })
})

const deviceOf = (bytes: Uint8Array, superblocks: readonly Uint8Array[]): VerityDevice => ({
  size: bytes.length,
  superblocks,
  read: async function* () {
    // In parts that are no blocks.
    for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000)
  },
})

/** A kernel on which the folder is a dm-verity mount, read-only, its root hash on the command line; `changes` break one thing. */
function view(changes: Partial<{ mountinfo: string; uuid: string | null; commandLine: string; verity: MountView['verity'] }> = {}): MountView {
  const usual = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n31 22 253:0 / ${folder} ro,relatime shared:2 - erofs /dev/mapper/model ro\n`
  return {
    mountinfo: async () => changes.mountinfo ?? usual,
    deviceUuid: async (device) => (device === '253:0' ? (changes.uuid === undefined ? 'CRYPT-VERITY-0f-model' : changes.uuid) : null),
    verity: changes.verity ?? (async () => deviceOf(bytesOf(2 * 4096), [new Uint8Array(512), superblock(vectors.two)])),
    commandLine: async () => changes.commandLine ?? `quiet ro roothash=${rootHash} console=ttyS0\n`,
    realpath: (path) => realpath(path),
  }
}
const sources = (): MeasuredSources => ({
  executable: { path: join(folder, 'vllm'), rootHash },
  weights: { path: join(folder, 'model'), rootHash },
})
const build = (): string => sha256('the engine')
const open = (changes: Partial<UpstreamOptions> = {}, at?: MountView): Promise<UpstreamModel> =>
  openUpstreamModel({ name: 'm', kind: 'vllm', address: engine.address, digest, ...changes }, at)

async function start(device: AttestationDevice, upstream: readonly UpstreamModel[]): Promise<Worker> {
  const platform = await machine()
  return createWorker({
    callers: 'anybody',
    quoter: createQuoter(device),
    collateral: () => platform.tdxCollateral,
    models: [],
    upstream,
    configuration: {},
    now,
  })
}

/** A quote of a TD whose certificates end in Intel's root: not genuine, but its chain says so. */
async function quoteUnderIntel(reportData: Uint8Array = new Uint8Array(64)): Promise<Uint8Array> {
  const platform = await machine()
  const quote = Buffer.from(await platform.tdQuote(td, reportData))
  const text = quote.toString('latin1')
  const at = text.lastIndexOf('-----BEGIN CERTIFICATE-----')
  const end = text.lastIndexOf('-----END CERTIFICATE-----') + 25
  const pem = certificatePem(intelSgxRootCa).trim()
  const change = pem.length - (end - at)
  const edited = Buffer.from(text.slice(0, at) + pem + text.slice(end), 'latin1')
  const pemStart = text.indexOf('-----BEGIN CERTIFICATE-----')
  const pemLength = quote.readUInt32LE(pemStart - 4)
  edited.writeUInt32LE(pemLength + change, pemStart - 4)
  // The lengths that hold it: of the certification data of type 6, and of the signature section.
  const signature = 648 + 48 + 6
  edited.writeUInt32LE(quote.readUInt32LE(signature) + change, signature)
  edited.writeUInt32LE(quote.readUInt32LE(signature + 4 + 128 + 2) + change, signature + 4 + 128 + 2)
  return new Uint8Array(edited)
}

describe('S2: where an engine of another process is allowed', () => {
  test('S2: under SGX it is refused at start, and nothing overrides that', async () => {
    const platform = await machine()
    const sgx = createSimDevice(platform, enclave)
    for (const model of [await open(), await open({ measured: sources(), digest: build() }, view())])
      await expect(start(sgx, [model])).rejects.toMatchObject({ code: 'engine_outside_enclave', kind: 'configuration' })
    // The same worker starts without it.
    await expect(start(sgx, [])).resolves.toBeDefined()
  })

  test('S2: the place is what the quote of the worker itself says', async () => {
    const platform = await machine()
    expect(placementOf(await platform.tdQuote(td, new Uint8Array(64)))).toBe('simulation')
    expect(placementOf(await platform.tdQuote(td, new Uint8Array(64), { version: 4 }))).toBe('simulation')
    expect(placementOf(await quoteUnderIntel())).toBe('confidential_vm')
    // A chain that is not there may be Intel's.
    expect(placementOf(await platform.tdQuote(td, new Uint8Array(64), { certification: 3 }))).toBe('confidential_vm')
    expect(() => placementOf(new Uint8Array(100))).toThrow(expect.objectContaining({ code: 'quote_unsupported' }))
    await expect(platform.quote(enclave, new Uint8Array(64)).then(placementOf)).rejects.toMatchObject({ code: 'engine_outside_enclave' })
  })

  test('S2: in a confidential VM it is refused unless it is part of the measured image', async () => {
    const model = await open()
    expect(() => placeUpstream(model, 'confidential_vm')).toThrow(expect.objectContaining({ code: 'engine_not_measured' }))
    const platform = await machine()
    const genuine = await quoteUnderIntel(createHash('sha512').update('veritee.self.v1').digest())
    await expect(start({ ...createSimTdDevice(platform, td), readQuote: async () => genuine }, [model])).rejects.toMatchObject({
      code: 'engine_not_measured',
    })
  })

  test('S2: in a confidential VM, engine and weights on a measured mount are named as measured, with their hashes', async () => {
    const placed = placeUpstream(await open({ measured: sources(), digest: build() }, view()), 'confidential_vm')
    expect(placed.external).toMatchObject({
      engine: { build: build(), cpu_variant: 'external' },
      engine_provenance: 'measured_mount',
      weights_provenance: 'measured_mount',
      placement: 'confidential_vm',
    })
    expect(placed.described).toMatchObject({
      files: [
        { name: 'config.json', sha256: sha256('{}'), size: 2 },
        { name: 'model.safetensors', sha256: sha256('weights'), size: 7 },
      ],
      format: 'safetensors',
    })
    expect(placed.event.provenance).toBe('measured_mount')
  })

  test('S2: in a confidential VM, weights from elsewhere are only asserted, and none are named', async () => {
    const measured = { executable: { path: join(folder, 'vllm'), rootHash }, weights: null }
    const placed = placeUpstream(await open({ measured, digest: build() }, view()), 'confidential_vm')
    expect(placed.external).toMatchObject({ engine_provenance: 'measured_mount', weights_provenance: 'provider_asserted' })
    expect(placed.event).toMatchObject({ provenance: 'provider_asserted', files: [], format: 'unknown' })
  })

  test('S2: in a simulation everything is only asserted, whatever the mounts say', async () => {
    const placed = placeUpstream(await open({ measured: sources(), digest: build() }, view()), 'simulation')
    expect(placed.external).toMatchObject({
      engine: { cpu_variant: 'external' },
      engine_provenance: 'provider_asserted',
      weights_provenance: 'provider_asserted',
      placement: 'simulation',
    })
    expect(placed.event).toMatchObject({ provenance: 'provider_asserted', files: [] })
  })

  test('S2: outside a TEE there is no report, no receipt and no worker', async () => {
    const device = await openGramineDevice(join(folder, 'nothing')).catch((error: unknown) => error as Error)
    if (device instanceof Error) return expect(device).toMatchObject({ code: 'attestation_device_absent' })
    await expect(start(device, [await open()])).rejects.toMatchObject({ code: 'attestation_device_absent' })
  })

  test('S2: the report of a worker names its engine, so that it can be refused before anything is sent', async () => {
    const platform = await machine()
    const worker = await start(createSimTdDevice(platform, td), [await open()])
    const text = await worker.identity.report('ab'.repeat(32))
    const report = await verifyReport(parseReport(text), 'ab'.repeat(32), { roots: [platform.root] }, now())
    expect(report.descriptor.extensions).toMatchObject({ 'veritee.external_engines': [{ model: 'm', placement: 'simulation' }] })
    expect(report.descriptor.engine).toMatchObject({ name: 'vllm', version: '0.11.0', cpu_variant: 'external' })
    const judge = (externalEngine: 'refuse' | 'measured' | 'any'): string | undefined => {
      const section = policyOf({ externalEngine }).roles.worker
      if (section === undefined) throw new Error('no section')
      return evaluateReport(report, section, { role: 'worker', at: now(), attestedAt: now(), channel: 'attested' }).error?.code
    }
    expect([judge('refuse'), judge('measured'), judge('any')]).toEqual(['policy_engine', 'policy_engine', undefined])
  })

  test('two models of one name are a mistake', async () => {
    const platform = await machine()
    await expect(start(createSimTdDevice(platform, td), [await open(), await open()])).rejects.toThrow(TypeError)
  })
})

describe('S2: a measured mount', () => {
  const code = (changes: Parameters<typeof view>[0], measured = sources()): Promise<unknown> =>
    open({ digest: build(), measured }, view(changes)).then(
      () => 'opened',
      (error: { code?: string }) => error.code,
    )
  const root = '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw'
  const changed = (bytes: Uint8Array): Uint8Array => bytes.with(5000, (bytes[5000] ?? 0) ^ 1)
  const mount = (point = folder, options = 'ro', superOptions = 'ro', device = '253:0'): string =>
    `31 22 ${device} / ${point} ${options} - erofs /dev/x ${superOptions}`

  test('is one where everything holds', async () => {
    expect(await code({})).toBe('opened')
    expect(await code({ mountinfo: `${root}\n${mount()}` })).toBe('opened')
    expect(await code({ commandLine: `systemd.verity_usr_hash=${rootHash}` })).toBe('opened')
  })
  test.for<[string, Parameters<typeof view>[0] | (() => Parameters<typeof view>[0])]>([
    ['writable', () => ({ mountinfo: `${root}\n${mount(folder, 'rw')}` })],
    ['read-only here, writable elsewhere', () => ({ mountinfo: `${root}\n${mount(folder, 'ro', 'rw')}` })],
    ['of another device', () => ({ mountinfo: `${root}\n${mount(folder, 'ro', 'ro', '8:1')}` })],
    ['not there', () => ({ mountinfo: root })],
    ['hidden by a later mount', () => ({ mountinfo: `${root}\n${mount()}\n40 31 0:44 / ${folder} rw - tmpfs tmpfs rw` })],
    ['with another one inside', () => ({ mountinfo: `${root}\n${mount()}\n40 31 0:44 / ${folder}/model/inside rw - tmpfs tmpfs rw` })],
    ['with the engine itself replaced', () => ({ mountinfo: `${root}\n${mount()}\n40 31 0:44 /x ${folder}/vllm rw - tmpfs tmpfs rw` })],
    ['of a name that only begins alike', () => ({ mountinfo: `${root}\n${mount(folder.slice(0, -1))}` })],
    ['in a table that cannot be read', () => ({ mountinfo: `${root}\n${mount()}\ngarbage` })],
    ['in an empty table', { mountinfo: '' }],
    ['no device-mapper device', { uuid: null }],
    ['of another target', { uuid: 'CRYPT-LUKS2-0f-model' }],
    ['whose root hash is not on the command line', { commandLine: 'quiet ro' }],
    ['whose device cannot be read', { verity: () => Promise.reject(new Error('EACCES')) }],
    ['without a superblock', { verity: async () => deviceOf(bytesOf(2 * 4096), [new Uint8Array(512)]) }],
    ['whose superblock is of a device of another size', { verity: async () => deviceOf(bytesOf(3 * 4096), [superblock(vectors.two)]) }],
    ['opened with another root hash: one byte is another', { verity: async () => deviceOf(changed(bytesOf(2 * 4096)), [superblock(vectors.two)]) }],
    ['formatted with another salt', { verity: async () => deviceOf(bytesOf(2 * 4096), [superblock({ ...vectors.two, salt: 'cd'.repeat(32) })]) }],
    ['whose root hash is part of a longer word', { commandLine: `roothash=${rootHash}00` }],
  ])('is not one that is %s', async ([, changes]) => {
    expect(await code(typeof changes === 'function' ? changes() : changes)).toBe('engine_not_measured')
  })

  test('a root hash that is none, a file that is not there, a link, an empty folder are refused', async () => {
    const at = (path: string, hash = rootHash): MeasuredSources => ({
      executable: { path: join(folder, 'vllm'), rootHash },
      weights: { path: join(folder, path), rootHash: hash },
    })
    expect(await code({ commandLine: `roothash=${rootHash} x=` }, at('model', ''))).toBe('engine_not_measured')
    await symlink('/etc/hostname', join(folder, 'link'))
    await mkdir(join(folder, 'empty'))
    await symlink('../vllm', join(folder, 'empty', 'inside'))
    for (const path of ['link', 'empty', 'absent']) expect([path, await code({}, at(path))]).toEqual([path, 'engine_not_measured'])
    await rm(join(folder, 'empty', 'inside'))
    expect(await code({}, at('empty'))).toBe('engine_not_measured')
  })

  test('one device is read once for engine and model', async () => {
    let read = 0
    const verity = async (): Promise<VerityDevice> => {
      const device = deviceOf(bytesOf(2 * 4096), [superblock(vectors.two)])
      const counted = (): AsyncIterable<Uint8Array> => {
        read++
        return device.read()
      }
      return { ...device, read: counted }
    }
    expect(await code({ verity })).toBe('opened')
    expect(read).toBe(1)
  })

  test('an executable of another digest than the operator names is refused', async () => {
    await expect(open({ measured: sources(), digest }, view())).rejects.toMatchObject({ code: 'engine_not_measured' })
  })
})
