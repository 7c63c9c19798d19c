import { constants, open } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { type AttestationDevice, checkReportData, maxQuoteBytes } from './attestation-device.ts'

/** The part of `node:fs/promises` used here, so that tests can stand in for Gramine's pseudo files. */
export interface DeviceFiles {
  open(path: string, flags: number): Promise<DeviceFile>
}

export interface DeviceFile {
  write(bytes: Uint8Array): Promise<{ bytesWritten: number }>
  read(into: Uint8Array, offset: number, length: number): Promise<{ bytesRead: number }>
  close(): Promise<void>
}

const nodeFiles: DeviceFiles = {
  open: async (path, flags) => {
    const handle = await open(path, flags)
    return {
      write: (bytes) => handle.write(bytes),
      // No position: the pseudo files are read in sequence.
      read: (into, offset, length) => handle.read(into, offset, length, null),
      close: () => handle.close(),
    }
  },
}

/**
 * Gramine's attestation pseudo files.
 *
 * Opening checks that the device is there and that its type is `dcap`: the other types give no quote that a third party can verify.
 * Report data is one write of exactly 64 bytes, since Gramine pads a short write, cuts a long one, and takes each write as the whole.
 * A quote is produced when its file is opened, has no size beforehand, and is refused when empty or longer than 8192 bytes.
 * It does not check what the quote says; quote.ts does.
 * Throws `attestation_device_absent` (no such file, or another type) and `attestation_device_failed` (anything else, with the cause).
 */
export async function openGramineDevice(directory = '/dev/attestation', files: DeviceFiles = nodeFiles): Promise<AttestationDevice> {
  const attestationType = async (): Promise<string> => {
    const bytes = await readWhole(files, join(directory, 'attestation_type'), 64)
    return new TextDecoder().decode(bytes).trim()
  }
  const type = await attestationType()
  if (type !== 'dcap') throw fail('attestation_device_absent', `expected attestation type dcap, found ${JSON.stringify(type)}`)
  return {
    attestationType,
    writeUserReportData: async (reportData) => {
      checkReportData(reportData)
      // Without O_CREAT: where the device is absent, an ordinary file must not appear in its place.
      await withFile(files, join(directory, 'user_report_data'), constants.O_WRONLY | constants.O_TRUNC, async (file) => {
        const { bytesWritten } = await file.write(reportData)
        if (bytesWritten !== 64) throw fail('attestation_device_failed', `expected one write of 64 bytes, ${bytesWritten} were taken`)
      })
    },
    readQuote: async () => {
      const quote = await readWhole(files, join(directory, 'quote'), maxQuoteBytes)
      if (quote.length === 0) throw fail('attestation_device_failed', 'expected a quote, found an empty file')
      return quote
    },
  }
}

function readWhole(files: DeviceFiles, path: string, maxBytes: number): Promise<Uint8Array> {
  return withFile(files, path, constants.O_RDONLY, async (file) => {
    // One byte more than allowed tells a full buffer from a file that goes on.
    const buffer = new Uint8Array(maxBytes + 1)
    let length = 0
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    if (length > maxBytes) throw fail('attestation_device_failed', `expected at most ${maxBytes} bytes in ${path}`)
    return buffer.slice(0, length)
  })
}

async function withFile<T>(files: DeviceFiles, path: string, flags: number, use: (file: DeviceFile) => Promise<T>): Promise<T> {
  try {
    const file = await files.open(path, flags)
    try {
      return await use(file)
    } finally {
      await file.close()
    }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'attestation_device_failed') throw cause
    if (code === 'ENOENT' || code === 'ENOTDIR') throw fail('attestation_device_absent', `expected the pseudo file ${path}`, cause)
    // Gramine answers EACCES to every failure inside it: no quoting service, no PCK certificate, a malformed request.
    throw fail('attestation_device_failed', `${path}: ${String(code ?? 'unknown failure')}`, cause)
  }
}
