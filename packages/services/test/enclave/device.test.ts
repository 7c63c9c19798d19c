import { constants } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSimPlatform } from 'veritee/attestation/sim'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DeviceFiles } from '../../src/enclave/runtime/device-file.ts'
import { openGramineDevice } from '../../src/enclave/runtime/gramine-device.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'

const enclave = { mrenclave: '01'.repeat(32), mrsigner: '02'.repeat(32), isvProdId: 1, isvSvn: 1 }
const reportDataOf = (quote: Uint8Array): Uint8Array => quote.subarray(48 + 320, 48 + 384)
const errno = (code: string): Error => Object.assign(new Error(`${code}: from the file system`), { code })

/**
 * Gramine's pseudo files, as its libos implements them: content is made at open, each write call replaces the whole slot at once, padded
 * with zeros or cut to 64 bytes, and every failure inside is EACCES.
 */
function fakeGramine(quoteOver: (slot: Uint8Array) => Promise<Uint8Array>, options: { type?: string; chunk?: number } = {}) {
  const { type = 'dcap', chunk = 4096 } = options
  const state = { slot: new Uint8Array(64), writes: 0, open: 0, opened: [] as [string, number][] }
  const files: DeviceFiles = {
    open: async (path, flags) => {
      const name = path.replace('/dev/attestation/', '')
      state.opened.push([name, flags])
      const writable = (flags & constants.O_WRONLY) !== 0
      let content = new Uint8Array(0)
      if (name === 'attestation_type' && !writable) content = new TextEncoder().encode(type)
      else if (name === 'quote' && !writable) content = new Uint8Array(await quoteOver(state.slot.slice()))
      else if (name !== 'user_report_data') throw errno('ENOENT')
      state.open++
      let at = 0
      return {
        write: async (bytes) => {
          const slot = new Uint8Array(64)
          slot.set(bytes.subarray(0, 64))
          state.slot = slot
          state.writes++
          return { bytesWritten: bytes.length }
        },
        read: async (into, offset, length) => {
          const part = content.subarray(at, at + Math.min(length, chunk))
          into.set(part, offset)
          at += part.length
          return { bytesRead: part.length }
        },
        close: async () => {
          state.open--
        },
      }
    },
  }
  return { files, state }
}

describe('the Gramine device', () => {
  it('gives a quote over what was written, with one write of 64 bytes and every file closed', async () => {
    const platform = await createSimPlatform({ at: new Date() })
    const { files, state } = fakeGramine((slot) => platform.quote(enclave, slot), { chunk: 1000 })
    const device = await openGramineDevice('/dev/attestation', files)
    for (const fill of [7, 9]) {
      await device.writeUserReportData(new Uint8Array(64).fill(fill))
      expect(reportDataOf(await device.readQuote())).toEqual(new Uint8Array(64).fill(fill))
    }
    expect(state).toMatchObject({ writes: 2, open: 0 })
    expect(await device.attestationType()).toBe('dcap')
  })

  it('never creates a file where the device is absent', async () => {
    const { files, state } = fakeGramine(async () => new Uint8Array(1))
    await (await openGramineDevice(undefined, files)).writeUserReportData(new Uint8Array(64))
    const [, flags = constants.O_CREAT] = state.opened.find(([name]) => name === 'user_report_data') ?? []
    expect(flags & constants.O_CREAT).toBe(0)
  })

  it('is refused unless the attestation type is dcap', async () => {
    for (const type of ['none', 'epid', '', 'dcap2', 'DCAP'])
      await expect(openGramineDevice('/dev/attestation', fakeGramine(async () => new Uint8Array(1), { type }).files), type).rejects.toMatchObject({
        code: 'attestation_device_absent',
      })
  })

  it('refuses any length of report data but 64, before it touches the device', async () => {
    const { files, state } = fakeGramine(async () => new Uint8Array(1))
    const device = await openGramineDevice('/dev/attestation', files)
    for (const length of [0, 32, 63, 65, 128]) await expect(device.writeUserReportData(new Uint8Array(length))).rejects.toThrow(TypeError)
    expect(state.writes).toBe(0)
  })

  it('refuses an empty and an oversized quote, and takes one of exactly 8192 bytes', async () => {
    let length = 0
    const { files, state } = fakeGramine(async () => new Uint8Array(length))
    const device = await openGramineDevice('/dev/attestation', files)
    await expect(device.readQuote()).rejects.toMatchObject({ code: 'attestation_device_failed' })
    length = 8193
    await expect(device.readQuote()).rejects.toMatchObject({ code: 'attestation_device_failed' })
    length = 8192
    expect((await device.readQuote()).length).toBe(8192)
    expect(state.open).toBe(0)
  })

  it('reports EACCES, a write taken in part, and what it was over', async () => {
    const refusing = fakeGramine(async () => {
      throw errno('EACCES')
    })
    const device = await openGramineDevice('/dev/attestation', refusing.files)
    const error = await device.readQuote().catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'attestation_device_failed', kind: 'unavailable' })
    expect(String(error)).toMatch(/quote: EACCES/)

    const partial: DeviceFiles = {
      open: async (path, flags) => ({ ...(await refusing.files.open(path, flags)), write: async () => ({ bytesWritten: 63 }) }),
    }
    const cut = await openGramineDevice('/dev/attestation', partial)
    await expect(cut.writeUserReportData(new Uint8Array(64))).rejects.toMatchObject({ code: 'attestation_device_failed' })
    expect(refusing.state.open).toBe(0)
  })
})

describe('the Gramine device over real files', () => {
  let directory = ''
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'veritee-device-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('reads and writes through node:fs', async () => {
    await writeFile(join(directory, 'attestation_type'), 'dcap\n')
    await writeFile(join(directory, 'user_report_data'), new Uint8Array(100))
    await writeFile(join(directory, 'quote'), new Uint8Array(5000).fill(3))
    const device = await openGramineDevice(directory)
    await device.writeUserReportData(new Uint8Array(64).fill(5))
    expect(new Uint8Array(await readFile(join(directory, 'user_report_data')))).toEqual(new Uint8Array(64).fill(5))
    expect(await device.readQuote()).toEqual(new Uint8Array(5000).fill(3))
  })

  it('says that the device is absent, and leaves the folder as it was', async () => {
    await expect(openGramineDevice(directory)).rejects.toMatchObject({ code: 'attestation_device_absent', kind: 'configuration' })
    await expect(openGramineDevice(join(directory, 'missing'))).rejects.toMatchObject({ code: 'attestation_device_absent' })
    await writeFile(join(directory, 'attestation_type'), 'dcap')
    const device = await openGramineDevice(directory)
    await expect(device.writeUserReportData(new Uint8Array(64))).rejects.toMatchObject({ code: 'attestation_device_absent' })
    await expect(device.readQuote()).rejects.toMatchObject({ code: 'attestation_device_absent' })
    expect(await readdir(directory)).toEqual(['attestation_type'])
  })
})

describe('the simulated device', () => {
  it('quotes its slot, which starts as zeros and is a copy', async () => {
    const device = createSimDevice(await createSimPlatform({ at: new Date() }), enclave)
    expect(await device.attestationType()).toBe('dcap')
    expect(reportDataOf(await device.readQuote())).toEqual(new Uint8Array(64))
    const reportData = new Uint8Array(64).fill(4)
    await device.writeUserReportData(reportData)
    reportData.fill(5)
    expect(reportDataOf(await device.readQuote())).toEqual(new Uint8Array(64).fill(4))
    await expect(device.writeUserReportData(new Uint8Array(32))).rejects.toThrow(TypeError)
  })

  it('S15: says nothing about being simulated that anybody could trust', async () => {
    const device = createSimDevice(await createSimPlatform({ at: new Date() }), enclave)
    const files = fakeGramine(async () => new Uint8Array(1)).files
    expect(Object.keys(device).sort()).toEqual(Object.keys(await openGramineDevice('/dev/attestation', files)).sort())
  })
})
