import { constants } from 'node:fs/promises'
import { join } from 'node:path'
import { fail, type VeriteeError } from 'veritee/errors'
import { type AttestationDevice, checkReportData, maxQuoteBytes } from './attestation-device.ts'
import { type DeviceFiles, errnoOf, nodeFiles, readWhole, withFile } from './device-file.ts'

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
    const bytes = await readWhole(files, join(directory, 'attestation_type'), 64, coded)
    return new TextDecoder().decode(bytes).trim()
  }
  const type = await attestationType()
  if (type !== 'dcap') throw fail('attestation_device_absent', `expected attestation type dcap, found ${JSON.stringify(type)}`)
  return {
    attestationType,
    writeUserReportData: async (reportData) => {
      checkReportData(reportData)
      // Without O_CREAT: where the device is absent, an ordinary file must not appear in its place.
      await withFile(files, join(directory, 'user_report_data'), constants.O_WRONLY | constants.O_TRUNC, coded, async (file) => {
        const { bytesWritten } = await file.write(reportData)
        if (bytesWritten !== 64) throw fail('attestation_device_failed', `expected one write of 64 bytes, ${bytesWritten} were taken`)
      })
    },
    readQuote: async () => {
      const quote = await readWhole(files, join(directory, 'quote'), maxQuoteBytes, coded)
      if (quote.length === 0) throw fail('attestation_device_failed', 'expected a quote, found an empty file')
      return quote
    },
  }
}

function coded(cause: unknown, path: string): VeriteeError {
  const code = errnoOf(cause)
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return fail(
      'attestation_device_absent',
      `expected the pseudo file ${path}, which an enclave under gramine-sgx has, and gramine-direct has not`,
      cause,
    )
  // Gramine answers EACCES to every failure inside it: no quoting service, no PCK certificate, a malformed request.
  return fail('attestation_device_failed', `${path}: ${code}`, cause)
}
