/**
 * The machine's quote device, shaped like Gramine's `/dev/attestation`: a process-global slot of 64 bytes of report data, and a file
 * that holds a quote over it. Writing and reading are two steps, so the device is unsafe to share; `createQuoter` in quote.ts is its
 * only caller (S1). Hardware and the simulator are alike here: which one made a quote follows from its root, for verifiers to compute (S15).
 */
export interface AttestationDevice {
  /** Gramine's name of the attestation scheme; `dcap` is the only one served. */
  attestationType(): Promise<string>
  /** Sets the slot. Exactly 64 bytes, else `TypeError`. Throws `attestation_device_absent` or `attestation_device_failed`. */
  writeUserReportData(reportData: Uint8Array): Promise<void>
  /** A quote over the slot. Throws `attestation_device_absent` or `attestation_device_failed`. */
  readQuote(): Promise<Uint8Array>
}

/** Gramine's buffer for a quote; also the bound for what any device may hand over. */
export const maxQuoteBytes: number = 8192

/** The slot is never padded or cut to fit: Gramine does both silently, and then signs something else than was asked. */
export function checkReportData(reportData: Uint8Array): void {
  if (!(reportData instanceof Uint8Array) || reportData.length !== 64) throw new TypeError('attestation device: expected 64 bytes of report data')
}
