import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseQuote } from '../../src/attestation/index.ts'
import { flipped, genuinePairs, haveVectors, load, outcome, type Pair, pairOf, titleOf, vectorsNote } from './vectors.ts'

/** Where the parts of an SGX quote of version 3 with 32 bytes of QE authentication data stand. */
const parts: readonly (readonly [string, number, number, readonly string[]])[] = [
  ['version, key type and TEE type', 0, 8, ['quote_unsupported']],
  ['QE and PCE versions', 8, 12, ['quote_signature_invalid']],
  ['vendor', 12, 28, ['quote_unsupported']],
  ['user data and body', 28, 432, ['quote_signature_invalid']],
  ['signature data length', 432, 436, ['quote_malformed']],
  ['signature', 436, 500, ['quote_signature_invalid']],
  ['attestation key', 500, 564, ['qe_report_data_mismatch']],
  ['QE report', 564, 948, ['qe_report_signature_invalid']],
  ['QE report signature', 948, 1012, ['qe_report_signature_invalid']],
  ['QE authentication data length', 1012, 1014, ['quote_malformed', 'quote_unsupported']],
  ['QE authentication data', 1014, 1046, ['qe_report_data_mismatch']],
  ['certification data type', 1046, 1048, ['quote_malformed', 'quote_unsupported', 'quote_no_pck_chain']],
  ['certification data length', 1048, 1052, ['quote_malformed']],
]
const chainCodes = ['malformed_encoding', 'certificate_malformed', 'chain_invalid', 'chain_untrusted']

/** Just past the last PEM marker. What follows it, a line end and NUL, says nothing. */
function chainEnd(bytes: Uint8Array): number {
  return Buffer.from(bytes).lastIndexOf('-----END CERTIFICATE-----') + '-----END CERTIFICATE-----'.length
}

const firstPairs: readonly Pair[] = genuinePairs.filter((pair, index) => genuinePairs.findIndex(({ vector }) => vector === pair.vector) === index)

describe.skipIf(!haveVectors)(`one changed byte in a genuine quote is refused${vectorsNote}`, () => {
  it.each(parts)('SGX v3, every position: %s', async (_, from, to, codes) => {
    const { bytes, collateral, at } = load(pairOf('sgx/v3-phala'))
    for (let position = from; position < to; position++) {
      // A mask per position, so that not only one bit is tried.
      const mask = 1 << (position % 8)
      expect(codes, `position ${position}, mask ${mask}`).toContain(await outcome(flipped(bytes, position, mask), collateral, at))
    }
  })

  it('SGX v3, every position: PCK chain', async () => {
    const { bytes, collateral, at } = load(pairOf('sgx/v3-phala'))
    const end = chainEnd(bytes)
    expect(end).toBeGreaterThan(4000)
    for (let position = 1052; position < end; position++) {
      const mask = 1 << (position % 8)
      expect(chainCodes, `position ${position}, mask ${mask}`).toContain(await outcome(flipped(bytes, position, mask), collateral, at))
    }
  })

  it.each(firstPairs.map((pair) => [titleOf(pair), pair] as const))('sampled positions and masks: %s', async (_, pair) => {
    const { bytes, collateral, at } = load(pair)
    expect(await outcome(bytes, collateral, at)).toBe('accepted')
    const end = chainEnd(bytes)
    const signed = parseQuote(bytes).signed.length
    const position = fc.oneof(fc.integer({ min: 0, max: signed - 1 }), fc.integer({ min: 0, max: end - 1 }))
    await fc.assert(
      fc.asyncProperty(position, fc.integer({ min: 1, max: 255 }), async (where, mask) => {
        expect(await outcome(flipped(bytes, where, mask), collateral, at)).not.toBe('accepted')
      }),
      { numRuns: 60 },
    )
  })

  it('P15: TDX v5, every position of header, body descriptor and body', async () => {
    const { bytes, collateral, at } = load(pairOf('tdx/v5-google'))
    const { signed } = parseQuote(bytes)
    expect(signed.length).toBe(48 + 6 + 648)
    for (let position = 0; position < signed.length; position++) {
      const found = await outcome(flipped(bytes, position, 1 << (position % 8)), collateral, at)
      const unsigned = position < 8 || (position >= 12 && position < 28) || (position >= 48 && position < 54)
      // TDX facts that TCB info names are compared before the signature is checked.
      expect(unsigned ? ['quote_unsupported', 'quote_malformed'] : ['quote_signature_invalid', 'tdx_module_mismatch'], `${position}`).toContain(found)
    }
  })
})

describe.skipIf(!haveVectors)(`parts of two genuine quotes do not mix${vectorsNote}`, () => {
  it('the chain of another platform', async () => {
    const { bytes, collateral, at } = load(pairOf('sgx/v3-automata-network-lib'))
    const other = load(pairOf('sgx/v3-oasis')).bytes
    const mixed = new Uint8Array([...bytes.subarray(0, 1048), ...other.subarray(1048)])
    // The declared length of the whole follows the chain that is there now.
    new DataView(mixed.buffer).setUint32(432, mixed.length - 436, true)
    expect(await outcome(mixed, collateral, at)).toBe('qe_report_signature_invalid')
  })

  it('the body and signature of another quote, under its own attestation key', async () => {
    const { bytes, collateral, at } = load(pairOf('sgx/v3-automata-network-lib'))
    const other = load(pairOf('sgx/v3-oasis')).bytes
    const mixed = new Uint8Array(bytes)
    mixed.set(other.subarray(0, 432), 0)
    mixed.set(other.subarray(436, 564), 436)
    expect(await outcome(mixed, collateral, at)).toBe('qe_report_data_mismatch')
  })

  it('P27: a signature with the other s is valid too, and the claims are the same', async () => {
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const { bytes, collateral, at } = load(pairOf('sgx/v3-phala'))
    const s = BigInt(`0x${Buffer.from(bytes.subarray(468, 500)).toString('hex')}`)
    const mixed = new Uint8Array(bytes)
    mixed.set(Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex'), 468)
    expect(await outcome(mixed, collateral, at)).toBe('accepted')
  })
})
