import type { SimEnclave, SimPlatform, SimTd } from 'veritee/attestation/sim'
import { type AttestationDevice, checkReportData } from './attestation-device.ts'

/** The quote device of one simulated enclave. The slot starts as zeros, as Gramine's does. */
export function createSimDevice(platform: SimPlatform, enclave: SimEnclave): AttestationDevice {
  return simDevice((reportData) => platform.quote(enclave, reportData))
}

/** The same of one simulated TD. */
export function createSimTdDevice(platform: SimPlatform, td: SimTd): AttestationDevice {
  return simDevice((reportData) => platform.tdQuote(td, reportData))
}

function simDevice(quote: (reportData: Uint8Array) => Promise<Uint8Array>): AttestationDevice {
  let slot = new Uint8Array(64)
  return {
    attestationType: async () => 'dcap',
    writeUserReportData: async (reportData) => {
      checkReportData(reportData)
      slot = reportData.slice()
    },
    readQuote: () => quote(slot),
  }
}
