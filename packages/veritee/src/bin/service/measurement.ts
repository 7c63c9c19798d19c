import type { VerifiedReport } from '../../receipt/index.ts'

/** MRENCLAVE or MRTD, hex. */
export function measurementOf({ claims: { body } }: VerifiedReport): string {
  return body.tee === 'sgx' ? body.mrenclave : body.mrtd
}
