import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fail, VeriteeError } from 'veritee/errors'
import { type AttestationDevice, checkReportData, maxQuoteBytes } from './attestation-device.ts'
import { type DeviceFiles, errnoOf, nodeFiles, readWhole, withFile } from './device-file.ts'

/** The part of `node:fs/promises` used here, so that tests can stand in for the kernel. */
export interface TsmFiles extends DeviceFiles {
  mkdir(path: string): Promise<void>
  rmdir(path: string): Promise<void>
}

export interface TsmOptions {
  /** Where configfs has its reports; `/sys/kernel/config/tsm/report` where not given. */
  readonly directory?: string
  readonly files?: TsmFiles
  /** A name no other process uses; a random one where not given. */
  readonly entryName?: () => string
}

const kernelFiles: TsmFiles = {
  ...nodeFiles,
  mkdir: async (path) => {
    await mkdir(path)
  },
  rmdir,
}

/** Errors of the kernel that name their cause (configfs-tsm-report and the TDX guest driver); others are given by their name alone. */
const causes: Readonly<Record<string, string>> = {
  EBUSY: 'an earlier request is still with the host, or the entry was written too often',
  EFBIG: 'the report is longer than the kernel takes',
  EINTR: 'the wait for the host was interrupted',
  EINVAL: 'the kernel takes no report data of this length',
  EIO: 'the host or its quoting service refused',
  ETIMEDOUT: 'the host did not answer in time',
  EACCES: 'no permission: reports belong to root',
  EPERM: 'no permission: reports belong to root',
}

/**
 * TDX quotes from Linux configfs-tsm (kernel 6.7 and later; Documentation/ABI/testing/configfs-tsm-report). It follows the kernel's documents and
 * sources and is tested against an imitation of them; it has not been run on hardware.
 *
 * Opening makes an entry, reads its provider and removes it again: the only provider served is `tdx_guest`. Each quote has an entry of its own,
 * which no other process knows by name: its generation is read, the 64 bytes are written in one write, the quote is read, and the generation must
 * have grown by exactly one, else somebody else wrote too. That also shows a write that the kernel dropped, which closing a configfs file does not
 * report. The entry is removed whatever happened. `auxblob` is not read: TDX puts nothing there.
 *
 * It does not check what the quote says; quote.ts does. `attestationType` is `dcap`, as for SGX: the quote is verified the same way.
 * Throws `attestation_device_absent` (no configfs-tsm, no provider, another provider) and `attestation_device_failed` (anything else, with the
 * cause; quotes longer than 8192 bytes are of a format for other verifiers).
 */
export async function openTsmDevice(options: TsmOptions = {}): Promise<AttestationDevice> {
  const { directory = '/sys/kernel/config/tsm/report', files = kernelFiles, entryName = () => `veritee-${randomUUID()}` } = options
  const inEntry = <T>(use: (entry: string) => Promise<T>): Promise<T> => withEntry(files, join(directory, entryName()), use)
  await inEntry(async (entry) => {
    const provider = await readText(files, join(entry, 'provider'))
    if (provider !== 'tdx_guest') throw fail('attestation_device_absent', `expected the provider tdx_guest, found ${JSON.stringify(provider)}`)
  })
  let slot = new Uint8Array(64)
  return {
    attestationType: async () => 'dcap',
    writeUserReportData: async (reportData) => {
      checkReportData(reportData)
      slot = reportData.slice()
    },
    readQuote: () => {
      // What was asked for, even if the slot is written meanwhile.
      const reportData = slot
      return inEntry((entry) => quoteIn(files, entry, reportData))
    },
  }
}

async function quoteIn(files: TsmFiles, entry: string, reportData: Uint8Array): Promise<Uint8Array> {
  const before = await generation(files, entry)
  await withFile(files, join(entry, 'inblob'), constants.O_WRONLY, coded, async (file) => {
    const { bytesWritten } = await file.write(reportData)
    if (bytesWritten !== 64) throw fail('attestation_device_failed', `expected one write of 64 bytes, ${bytesWritten} were taken`)
  })
  const quote = await readWhole(files, join(entry, 'outblob'), maxQuoteBytes, coded)
  const after = await generation(files, entry)
  if (after !== before + 1)
    throw fail(
      'attestation_device_failed',
      `expected generation ${before + 1}, found ${after}: the report data was not taken, or another process wrote`,
    )
  if (quote.length === 0) throw fail('attestation_device_failed', 'expected a quote, found an empty report: the quoting service gave none')
  return quote
}

async function generation(files: TsmFiles, entry: string): Promise<number> {
  const text = await readText(files, join(entry, 'generation'))
  const value = Number(text)
  if (!/^[0-9]{1,15}$/.test(text)) throw fail('attestation_device_failed', `expected a generation, found ${JSON.stringify(text)}`)
  return value
}

async function readText(files: TsmFiles, path: string): Promise<string> {
  return new TextDecoder().decode(await readWhole(files, path, 64, coded)).trim()
}

/** Makes the entry, and removes it however its use ended. An entry that stays keeps the driver loaded, so failing to remove it is a failure too. */
async function withEntry<T>(files: TsmFiles, entry: string, use: (entry: string) => Promise<T>): Promise<T> {
  try {
    await files.mkdir(entry)
  } catch (cause) {
    throw coded(cause, entry)
  }
  let result: T
  try {
    result = await use(entry)
  } catch (error) {
    // The first failure is the one to tell.
    await files.rmdir(entry).catch(() => undefined)
    throw error
  }
  try {
    await files.rmdir(entry)
  } catch (cause) {
    throw coded(cause, entry)
  }
  return result
}

function coded(cause: unknown, path: string): VeriteeError {
  if (cause instanceof VeriteeError) return cause
  const code = errnoOf(cause)
  if (code === 'ENOENT' || code === 'ENOTDIR') return fail('attestation_device_absent', `expected configfs-tsm at ${path}`, cause)
  if (code === 'ENXIO') return fail('attestation_device_absent', `${path}: no guest driver provides reports (ENXIO)`, cause)
  const why = causes[code]
  return fail('attestation_device_failed', `${path}: ${code}${why === undefined ? '' : ` (${why})`}`, cause)
}
