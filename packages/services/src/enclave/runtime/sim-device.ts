import type { SimEnclave, SimPlatform } from 'veritee/attestation/sim'
import { type AttestationDevice, checkReportData } from './attestation-device.ts'

/** The quote device of one simulated enclave. The slot starts as zeros, as Gramine's does. */
export function createSimDevice(platform: SimPlatform, enclave: SimEnclave): AttestationDevice {
  let slot = new Uint8Array(64)
  return {
    attestationType: async () => 'dcap',
    writeUserReportData: async (reportData) => {
      checkReportData(reportData)
      slot = reportData.slice()
    },
    readQuote: () => platform.quote(enclave, slot),
  }
}
