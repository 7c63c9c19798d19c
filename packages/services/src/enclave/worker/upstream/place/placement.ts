import { intelSgxRootCa, parseCertificate, parsePem, parseQuote } from 'veritee/attestation'
import { equal } from 'veritee/bytes'
import { fail } from 'veritee/errors'

export type Placement = 'confidential_vm' | 'simulation'

/**
 * Where this process runs, by its own quote: the one thing that its host cannot write. A quote whose chain ends in anything but Intel's key is of a
 * simulator. The chain is read, not verified: to pass for a simulation a host would have to change it, and every verifier compares what the receipts
 * say with what it computes itself.
 *
 * Throws `engine_outside_enclave` under SGX, simulated or not: an enclave holds one process, and what it would talk to is outside (rule S2).
 * Throws what `parseQuote` throws.
 */
export function placementOf(quote: Uint8Array): Placement {
  const { tee, certification } = parseQuote(quote)
  if (tee === 'sgx')
    throw fail(
      'engine_outside_enclave',
      'expected a model that runs in the enclave itself, found one of an engine in another process; there is no override',
    )
  // A chain that is not in the quote cannot be told from Intel's: the stricter rules apply.
  if (certification.kind !== 'pck-chain') return 'confidential_vm'
  const pem = Buffer.from(certification.pem).toString('latin1').replace(/\0+$/, '')
  const root = parsePem(pem).at(-1)
  return root !== undefined && equal(parseCertificate(root).spki, parseCertificate(intelSgxRootCa).spki) ? 'confidential_vm' : 'simulation'
}
