import { constants } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseQuote } from 'veritee/attestation'
import { createSimPlatform } from 'veritee/attestation/sim'
import { VeriteeError } from 'veritee/errors'
import { describe, expect, it } from 'vitest'
import { openTsmDevice, type TsmFiles } from '../../src/enclave/runtime/configfs-tsm-device.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'

const root = '/sys/kernel/config/tsm/report'
const errno = (code: string): Error => Object.assign(new Error(`${code}: from the kernel`), { code })

interface Entry {
  inblob: Uint8Array
  writeGeneration: number
  readGeneration: number
  outblob: Uint8Array | null
}

interface Kernel {
  /** Null: no guest driver has registered. */
  readonly provider?: string | null
  readonly report?: (inblob: Uint8Array) => Promise<Uint8Array>
  /** Bytes per read call. */
  readonly chunk?: number
  /** Runs at the places where another process may come in between. */
  readonly between?: (where: 'after inblob' | 'after outblob', entry: Entry) => void
  /** The first generation; 0 on a fresh entry. */
  readonly generation?: number
  readonly rmdirFails?: string
}

/**
 * configfs-tsm as the kernel's sources have it: attributes appear with the entry; a binary attribute is taken when its file is closed, which
 * reports nothing; the generation counts the writes that were taken; a report is made at the first read after a write and kept until the next;
 * text attributes end in a line end; an entry holds attributes that cannot be removed one by one.
 */
function fakeTsm(kernel: Kernel = {}) {
  const { provider = 'tdx_guest', report = async (inblob) => inblob, chunk = 4096 } = kernel
  const entries = new Map<string, Entry>()
  const log: string[] = []
  let open = 0
  const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\n`)
  const outblob = async (entry: Entry): Promise<Uint8Array> => {
    if (entry.inblob.length === 0) throw errno('EINVAL')
    if (entry.outblob === null || entry.readGeneration !== entry.writeGeneration) {
      entry.outblob = await report(entry.inblob)
      if (entry.outblob.length > 32_768) throw errno('EFBIG')
      entry.readGeneration = entry.writeGeneration
    }
    return entry.outblob
  }
  const files: TsmFiles = {
    mkdir: async (path) => {
      log.push(`mkdir ${path}`)
      if (!path.startsWith(`${root}/`)) throw errno('ENOENT')
      if (provider === null) throw errno('ENXIO')
      if (entries.has(path)) throw errno('EEXIST')
      entries.set(path, { inblob: new Uint8Array(0), writeGeneration: kernel.generation ?? 0, readGeneration: 0, outblob: null })
    },
    rmdir: async (path) => {
      log.push(`rmdir ${path}`)
      if (kernel.rmdirFails !== undefined) throw errno(kernel.rmdirFails)
      if (!entries.delete(path)) throw errno('ENOENT')
    },
    open: async (path, flags) => {
      const at = path.lastIndexOf('/')
      const [entry, name] = [entries.get(path.slice(0, at)), path.slice(at + 1)]
      log.push(`open ${name} ${flags}`)
      if (entry === undefined) throw errno('ENOENT')
      const writing = (flags & constants.O_WRONLY) !== 0
      if (writing !== (name === 'inblob')) throw errno('EACCES')
      let content: Uint8Array | null = null
      const pending: Uint8Array[] = []
      let position = 0
      open++
      return {
        write: async (bytes) => {
          if (bytes.length > 64) throw errno('EFBIG')
          pending.push(bytes.slice())
          return { bytesWritten: bytes.length }
        },
        read: async (into, offset, length) => {
          if (content === null) {
            if (name === 'provider') content = text(String(provider))
            else if (name === 'generation') content = text(String(entry.writeGeneration))
            else if (name === 'outblob') content = await outblob(entry)
            else throw errno('EACCES')
          }
          const part = content.subarray(position, position + Math.min(length, chunk))
          into.set(part, offset)
          position += part.length
          return { bytesRead: part.length }
        },
        close: async () => {
          open--
          const [bytes] = pending
          if (bytes !== undefined) {
            // Whether it was taken is not told: closing gives no error.
            entry.inblob = bytes
            entry.writeGeneration++
          }
          if (name === 'inblob') kernel.between?.('after inblob', entry)
          if (name === 'outblob') kernel.between?.('after outblob', entry)
        },
      }
    },
  }
  return { files, entries, log, opened: () => open }
}

const codeOf = async (run: Promise<unknown>): Promise<string> => {
  const error = await run.catch((reason: unknown) => reason)
  if (error instanceof VeriteeError) return error.code
  throw error instanceof Error ? error : new Error('expected a refusal')
}

describe('the configfs-tsm device', () => {
  it('gives a TDX quote over what was written, from an entry that is gone afterwards', async () => {
    const platform = await createSimPlatform({ at: new Date() })
    const tsm = fakeTsm({ report: (inblob) => platform.tdQuote({ mrtd: 'ab'.repeat(48) }, inblob, { version: 4 }), chunk: 1000 })
    const device = await openTsmDevice({ files: tsm.files })
    expect(await device.attestationType()).toBe('dcap')
    for (const fill of [7, 9]) {
      await device.writeUserReportData(new Uint8Array(64).fill(fill))
      const quote = parseQuote(await device.readQuote())
      expect(quote).toMatchObject({ tee: 'tdx', version: 4 })
      expect(quote.body.reportData).toEqual(new Uint8Array(64).fill(fill))
    }
    expect(tsm.entries.size).toBe(0)
    expect(tsm.opened()).toBe(0)
    const made = tsm.log.filter((line) => line.startsWith('mkdir'))
    expect(new Set(made).size).toBe(3)
    expect(made.every((line) => /^mkdir \/sys\/kernel\/config\/tsm\/report\/veritee-[0-9a-f-]{36}$/.test(line))).toBe(true)
    expect(tsm.log.some((line) => line.includes('auxblob'))).toBe(false)
  })

  it('S1: serves the quoter, which reads the report data back', async () => {
    const platform = await createSimPlatform({ at: new Date() })
    const tsm = fakeTsm({ report: (inblob) => platform.tdQuote({ mrtd: 'ab'.repeat(48) }, inblob) })
    const quoter = createQuoter(await openTsmDevice({ files: tsm.files }))
    const purpose = { purpose: 'aci.report_data.v1', keysetDigest: `sha256:${'ab'.repeat(32)}`, nonce: 'cd'.repeat(32) } as const
    const quotes = await Promise.all([quoter.quote(purpose), quoter.quote({ ...purpose, nonce: 'ef'.repeat(32) })])
    expect(new Set(quotes.map((quote) => Buffer.from(parseQuote(quote).body.reportData).toString('hex'))).size).toBe(2)
  })

  it('starts with a slot of zeros, and keeps a copy', async () => {
    const device = await openTsmDevice({ files: fakeTsm().files })
    expect(await device.readQuote()).toEqual(new Uint8Array(64))
    const reportData = new Uint8Array(64).fill(4)
    await device.writeUserReportData(reportData)
    const reading = device.readQuote()
    await device.writeUserReportData(new Uint8Array(64).fill(6))
    reportData.fill(5)
    expect(await reading).toEqual(new Uint8Array(64).fill(4))
  })

  it('refuses any length of report data but 64', async () => {
    const device = await openTsmDevice({ files: fakeTsm().files })
    for (const length of [0, 32, 63, 65]) await expect(device.writeUserReportData(new Uint8Array(length))).rejects.toThrow(TypeError)
  })

  it('is absent without configfs, without a driver and with another driver', async () => {
    expect(await codeOf(openTsmDevice({ directory: '/elsewhere', files: fakeTsm().files }))).toBe('attestation_device_absent')
    expect(await codeOf(openTsmDevice({ files: fakeTsm({ provider: null }).files }))).toBe('attestation_device_absent')
    for (const provider of ['sev_guest', 'arm_cca_guest', 'tdx_guest2', '']) {
      const tsm = fakeTsm({ provider })
      expect(await codeOf(openTsmDevice({ files: tsm.files })), provider).toBe('attestation_device_absent')
      expect(tsm.entries.size).toBe(0)
    }
  })

  it('notices another writer before the quote and after it, and a write that was dropped', async () => {
    const meddle = (wanted: string) => (where: string, entry: Entry) => {
      if (where !== wanted) return
      entry.inblob = new Uint8Array(64).fill(0xee)
      entry.writeGeneration++
    }
    for (const between of [meddle('after inblob'), meddle('after outblob')]) {
      const tsm = fakeTsm({ between })
      const device = await openTsmDevice({ files: tsm.files })
      await expect(device.readQuote()).rejects.toMatchObject({
        code: 'attestation_device_failed',
        message: expect.stringContaining('another process wrote'),
      })
      expect(tsm.entries.size).toBe(0)
    }
    // EBUSY inside the kernel when the file is closed: the old report data stays, and nothing says so.
    const dropped = fakeTsm({
      between: (where, entry) => {
        if (where === 'after inblob') entry.writeGeneration--
      },
    })
    expect(await codeOf((await openTsmDevice({ files: dropped.files })).readQuote())).toBe('attestation_device_failed')
    const used = fakeTsm({ generation: 41 })
    expect(await (await openTsmDevice({ files: used.files })).readQuote()).toEqual(new Uint8Array(64))
  })

  it.each([
    ['EBUSY', 'still with the host'],
    ['EFBIG', 'longer than the kernel takes'],
    ['EINTR', 'interrupted'],
    ['EINVAL', 'of this length'],
    ['EIO', 'quoting service'],
    ['ETIMEDOUT', 'in time'],
    ['ENOMEM', 'ENOMEM'],
  ])('%s while the quote is made is a failure with its reason, and the entry is removed', async (code, reason) => {
    const tsm = fakeTsm({ report: () => Promise.reject(errno(code)) })
    const device = await openTsmDevice({ files: tsm.files })
    const error = await device.readQuote().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'attestation_device_failed', kind: 'unavailable', cause: { code } })
    expect(String(error)).toContain('outblob')
    expect(String(error)).toContain(reason)
    expect(tsm.entries.size).toBe(0)
    expect(tsm.opened()).toBe(0)
  })

  it('ENXIO while the quote is made: the driver went away', async () => {
    const tsm = fakeTsm({ report: () => Promise.reject(errno('ENXIO')) })
    expect(await codeOf((await openTsmDevice({ files: tsm.files })).readQuote())).toBe('attestation_device_absent')
  })

  it('refuses an empty and an oversized quote, and takes one of exactly 8192 bytes', async () => {
    let length = 0
    const tsm = fakeTsm({ report: async () => new Uint8Array(length) })
    const device = await openTsmDevice({ files: tsm.files })
    expect(await codeOf(device.readQuote())).toBe('attestation_device_failed')
    for (const longer of [8193, 32_768, 32_769]) {
      length = longer
      expect(await codeOf(device.readQuote()), String(longer)).toBe('attestation_device_failed')
    }
    length = 8192
    expect((await device.readQuote()).length).toBe(8192)
    expect(tsm.entries.size).toBe(0)
  })

  it('a write taken in part, a generation that is no number, and errors without a code are failures', async () => {
    const { files } = fakeTsm()
    const wrapped = (changes: (name: string) => Partial<Awaited<ReturnType<TsmFiles['open']>>>): TsmFiles => ({
      ...files,
      open: async (path, flags) => ({ ...(await files.open(path, flags)), ...changes(path.slice(path.lastIndexOf('/') + 1)) }),
    })
    const reading = async (changes: Parameters<typeof wrapped>[0]): Promise<string> =>
      codeOf((await openTsmDevice({ files: wrapped(changes) })).readQuote())
    expect(await reading((name) => (name === 'inblob' ? { write: async () => ({ bytesWritten: 63 }) } : {}))).toBe('attestation_device_failed')
    expect(await reading((name) => (name === 'generation' ? { read: async () => ({ bytesRead: 0 }) } : {}))).toBe('attestation_device_failed')
    expect(await reading((name) => (name === 'outblob' ? { read: () => Promise.reject(new Error('odd')) } : {}))).toBe('attestation_device_failed')
  })

  it('a name that is taken, no permission, and an entry that cannot be removed are failures', async () => {
    const tsm = fakeTsm()
    await tsm.files.mkdir(`${root}/taken`)
    expect(await codeOf(openTsmDevice({ files: tsm.files, entryName: () => 'taken' }))).toBe('attestation_device_failed')
    expect(tsm.entries.size, 'the other process keeps its entry').toBe(1)
    const forbidden: TsmFiles = { ...tsm.files, mkdir: () => Promise.reject(errno('EACCES')) }
    const error = await openTsmDevice({ files: forbidden }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'attestation_device_failed', message: expect.stringContaining('root') })
    expect(await codeOf(openTsmDevice({ files: fakeTsm({ rmdirFails: 'EBUSY' }).files }))).toBe('attestation_device_failed')
    // The first failure is told, not the second.
    expect(await codeOf(openTsmDevice({ files: fakeTsm({ provider: 'sev_guest', rmdirFails: 'EBUSY' }).files }))).toBe('attestation_device_absent')
  })

  it('over the real file system: absent where there is no configfs, and nothing is left', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'veritee-tsm-'))
    try {
      expect(await codeOf(openTsmDevice({ directory: join(directory, 'missing') }))).toBe('attestation_device_absent')
      // An ordinary folder makes entries, but without attributes.
      expect(await codeOf(openTsmDevice({ directory }))).toBe('attestation_device_absent')
      expect(await readdir(directory)).toEqual([])
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
