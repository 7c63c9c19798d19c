import { describe, expect, it } from 'vitest'
import { type Collateral, collateralToJson, parseCollateral, parseQeIdentity, parseTcbInfo, verifyQuote } from '../../src/attestation/index.ts'
import { parseQuote } from '../../src/attestation/quote/quote.ts'
import { failure, flipped, genuinePairs, haveVectors, intel, load, pairOf, titleOf, vectorsNote } from './vectors.ts'

const sgx = 'sgx/v3-phala'
const byteMembers = ['rootCaCrl', 'pckCrl', 'tcbInfoSignature', 'qeIdentitySignature'] as const
const textMembers = ['pckCrlIssuerChain', 'tcbInfoIssuerChain', 'tcbInfo', 'qeIdentityIssuerChain', 'qeIdentity'] as const

describe.skipIf(!haveVectors)(`collateral is verified, every piece of it${vectorsNote}`, () => {
  const { bytes, collateral, at } = haveVectors ? load(pairOf(sgx)) : { bytes: new Uint8Array(), collateral: {} as Collateral, at: new Date(0) }
  const other = haveVectors ? load(pairOf('sgx/v3-automata-network-lib')) : null
  const tdx = haveVectors ? load(pairOf('tdx/v4-phala-network-tdx_quote')) : null
  const with_ = (changes: Partial<Collateral>): Promise<string> => failure(bytes, { ...collateral, ...changes }, at)
  const of = (from: typeof other): Collateral => {
    if (from === null) throw new Error('no vectors')
    return from.collateral
  }

  it('P1, P5: changed text of TCB info or QE identity fails its signature', async () => {
    expect(await with_({ tcbInfo: collateral.tcbInfo.replace('"OutOfDate"', '"UpToDate"') })).toBe('tcb-info.signature tcb_info_signature_invalid')
    expect(await with_({ qeIdentity: collateral.qeIdentity.replace('"isvsvn":8', '"isvsvn":1') })).toBe(
      'qe-identity.signature qe_identity_signature_invalid',
    )
  })

  it('P6: the exact text is signed: the same JSON written otherwise is refused', async () => {
    const spaced = JSON.stringify(JSON.parse(collateral.tcbInfo), null, 1)
    expect(await with_({ tcbInfo: spaced })).toBe('tcb-info.signature tcb_info_signature_invalid')
    expect(await with_({ tcbInfo: ` ${collateral.tcbInfo}` })).toBe('tcb-info.signature tcb_info_signature_invalid')
    const reversed = JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(collateral.qeIdentity) as object).reverse()))
    expect(await with_({ qeIdentity: reversed })).toBe('qe-identity.signature qe_identity_signature_invalid')
  })

  it('P2: an empty, damaged, unsigned, foreign or PEM revocation list is refused', async () => {
    expect(await with_({ pckCrl: new Uint8Array() })).toBe('crl.pck crl_malformed')
    expect(await with_({ rootCaCrl: new Uint8Array() })).toBe('crl.root crl_malformed')
    expect(await with_({ pckCrl: new TextEncoder().encode('not a list') })).toBe('crl.pck crl_malformed')
    expect(await with_({ pckCrl: flipped(collateral.pckCrl, collateral.pckCrl.length - 1) })).toBe('crl.pck crl_signature_invalid')
    expect(await with_({ rootCaCrl: flipped(collateral.rootCaCrl, collateral.rootCaCrl.length - 1) })).toBe('crl.root crl_signature_invalid')
    expect(await with_({ pckCrl: collateral.rootCaCrl })).toBe('crl.pck crl_issuer_mismatch')
    expect(await with_({ rootCaCrl: collateral.pckCrl })).toBe('crl.root crl_issuer_mismatch')
    const pem = `-----BEGIN X509 CRL-----\n${Buffer.from(collateral.pckCrl).toString('base64')}\n-----END X509 CRL-----\n`
    expect(await with_({ pckCrl: new TextEncoder().encode(pem) })).toBe('crl.pck crl_malformed')
    expect(await with_({ pckCrl: new Uint8Array([...collateral.pckCrl, 0]) })).toBe('crl.pck crl_malformed')
  })

  it('P2: the list of the other PCK authority does not cover this certificate', async () => {
    expect(await with_({ pckCrl: of(other).pckCrl })).toBe('crl.pck crl_issuer_mismatch')
    expect(await with_({ pckCrlIssuerChain: of(other).pckCrlIssuerChain })).toBe('crl.pck-issuer crl_issuer_mismatch')
    expect(await with_({ pckCrl: of(other).pckCrl, pckCrlIssuerChain: of(other).pckCrlIssuerChain })).toBe('crl.pck-issuer crl_issuer_mismatch')
  })

  it('TCB info of another platform family, of the other TEE, and the other QE identity (P9)', async () => {
    const { tcbInfo, tcbInfoSignature, qeIdentity, qeIdentitySignature } = of(tdx)
    expect(await with_({ tcbInfo: of(other).tcbInfo, tcbInfoSignature: of(other).tcbInfoSignature })).toBe('tcb-info.match tcb_info_mismatch')
    expect(await with_({ tcbInfo, tcbInfoSignature })).toBe('tcb-info.match tcb_info_mismatch')
    expect(await with_({ qeIdentity, qeIdentitySignature })).toBe('qe-identity.match qe_identity_mismatch')
    expect(await with_({ tcbInfo })).toBe('tcb-info.signature tcb_info_signature_invalid')
    expect(await with_({ tcbInfoSignature })).toBe('tcb-info.signature tcb_info_signature_invalid')
    expect(await with_({ qeIdentitySignature })).toBe('qe-identity.signature qe_identity_signature_invalid')
    // One signed document in the place of the other.
    expect(await with_({ tcbInfo: collateral.qeIdentity, tcbInfoSignature: collateral.qeIdentitySignature })).toBe(
      'tcb-info.format collateral_malformed',
    )
  })

  it('issuer chains in each other’s place, cut, and doubled', async () => {
    expect(await with_({ tcbInfoIssuerChain: collateral.pckCrlIssuerChain })).toBe('tcb-info.chain chain_invalid')
    expect(await with_({ pckCrlIssuerChain: collateral.tcbInfoIssuerChain })).toBe('crl.pck-issuer crl_issuer_mismatch')
    const half = collateral.tcbInfoIssuerChain.slice(0, collateral.tcbInfoIssuerChain.indexOf('-----END') + 26)
    expect(await with_({ tcbInfoIssuerChain: half })).toBe('tcb-info.chain chain_invalid')
    expect(await with_({ tcbInfoIssuerChain: half + half })).toBe('tcb-info.chain chain_invalid')
    expect(await with_({ qeIdentityIssuerChain: collateral.qeIdentityIssuerChain + half })).toBe('qe-identity.chain chain_invalid')
    expect(await with_({ qeIdentityIssuerChain: '' })).toBe('qe-identity.chain malformed_encoding')
  })

  it('P18: a chain in the order root to leaf is the same chain; a percent-encoded one is refused', async () => {
    const reversed = (pem: string): string => (pem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n/g) ?? []).reverse().join('')
    expect(reversed(collateral.tcbInfoIssuerChain)).not.toBe(collateral.tcbInfoIssuerChain)
    const changes = {
      tcbInfoIssuerChain: reversed(collateral.tcbInfoIssuerChain),
      qeIdentityIssuerChain: reversed(collateral.qeIdentityIssuerChain),
      pckCrlIssuerChain: reversed(collateral.pckCrlIssuerChain),
    }
    expect(await with_(changes)).toBe('accepted')
    expect(await with_({ tcbInfoIssuerChain: encodeURIComponent(collateral.tcbInfoIssuerChain) })).toBe('tcb-info.chain malformed_encoding')
  })

  it('P20: a reissued TCB signing certificate with the same serial and key is another certificate', async () => {
    const old = load(pairOf('moduleupdate')).collateral.tcbInfoIssuerChain
    expect(old).not.toBe(collateral.tcbInfoIssuerChain)
    expect(await with_({ tcbInfoIssuerChain: old })).toBe('tcb-info.chain certificate_expired')
    const early = load(pairOf('moduleupdate'))
    const reissued = { ...early.collateral, tcbInfoIssuerChain: collateral.tcbInfoIssuerChain }
    expect(await failure(early.bytes, reissued, early.at)).toBe('tcb-info.chain certificate_not_yet_valid')
  })

  it('each piece, cut at every eighth and with one bit changed at many places, is refused', async () => {
    for (const name of byteMembers)
      for (let step = 0; step < 8; step++) {
        const whole = collateral[name]
        const at_ = Math.floor((whole.length * step) / 8)
        expect(await with_({ [name]: whole.subarray(0, at_) }), `${name} cut at ${at_}`).not.toBe('accepted')
        expect(await with_({ [name]: flipped(whole, at_, 1 << step) }), `${name} changed at ${at_}`).not.toBe('accepted')
      }
    for (const name of textMembers)
      for (let step = 0; step < 8; step++) {
        const whole = new TextEncoder().encode(collateral[name])
        const at_ = Math.floor((whole.length * step) / 8)
        expect(await with_({ [name]: collateral[name].slice(0, at_) }), `${name} cut at ${at_}`).not.toBe('accepted')
        // Bits 0 to 6 keep the text ASCII; the case bit of a PEM label counts too.
        const changed = new TextDecoder().decode(flipped(whole, at_, 1 << (step % 7)))
        expect(await with_({ [name]: changed }), `${name} changed at ${at_}`).not.toBe('accepted')
      }
  })

  it('every signature and list byte counts', async () => {
    for (const name of byteMembers)
      for (let position = 0; position < collateral[name].length; position++)
        expect(await with_({ [name]: flipped(collateral[name], position, 1 << (position % 8)) }), `${name} at ${position}`).not.toBe('accepted')
  })

  it('the set of another genuine quote is refused, whichever piece it is', async () => {
    const foreign = of(other)
    for (const name of [...byteMembers, ...textMembers]) {
      if (JSON.stringify(foreign[name]) === JSON.stringify(collateral[name])) continue
      // The signing chain is Intel's one chain: it differs by its certificate only.
      expect(await with_({ [name]: foreign[name] }), name).not.toBe('accepted')
    }
    expect(await failure(bytes, foreign, at)).toBe('crl.pck-issuer crl_issuer_mismatch')
  })
})

describe.skipIf(!haveVectors)(`time${vectorsNote}`, () => {
  it.each(genuinePairs.filter((_, index) => index % 3 === 0).map((pair) => [titleOf(pair), pair] as const))(
    'bounds are inclusive: %s',
    async (_, pair) => {
      const { bytes, collateral, at } = load(pair)
      const { claims } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
      const end = claims.collateral.earliestExpiration
      const last = await verifyQuote(parseQuote(bytes), collateral, intel, end)
      expect(last.claims).toEqual(claims)
      const codes = ['certificate_expired', 'crl_expired', 'tcb_info_expired', 'qe_identity_expired']
      const after = await failure(bytes, collateral, new Date(end.getTime() + 1000))
      expect(codes).toContain(after.split(' ')[1])
      // The latest of the issue dates of documents: a second before, one of them is not out yet.
      const documents = [parseTcbInfo(collateral.tcbInfo), parseQeIdentity(collateral.qeIdentity)]
      const out = Math.max(...documents.map(({ issueDate }) => issueDate.getTime()), claims.collateral.latestIssue.getTime())
      expect(await failure(bytes, collateral, new Date(out - 1000))).toMatch(/ (?:tcb_info_expired|qe_identity_expired|crl_expired)$/)
    },
  )

  it('long before and long after, the certificates are out of their windows', async () => {
    const { bytes, collateral } = load(pairOf(sgx))
    expect(await failure(bytes, collateral, new Date('2010-01-01T00:00:00Z'))).toBe('pck.window certificate_not_yet_valid')
    expect(await failure(bytes, collateral, new Date('2060-01-01T00:00:00Z'))).toBe('pck.window certificate_expired')
    expect(await failure(bytes, collateral, new Date('2025-01-01T00:00:00Z'))).toBe('crl.root crl_expired')
    expect(await failure(bytes, collateral, new Date('2025-08-01T00:00:00Z'))).toBe('crl.pck crl_expired')
  })

  it('P23: documents of two evaluations give the lower number', async () => {
    const pair = pairOf('moduleupdate')
    const { bytes, collateral, at } = load(pair)
    const { claims } = await verifyQuote(parseQuote(bytes), collateral, intel, at)
    expect([parseTcbInfo(collateral.tcbInfo).evaluationDataNumber, parseQeIdentity(collateral.qeIdentity).evaluationDataNumber]).toEqual([18, 17])
    expect(claims.tcb.evaluationDataNumber).toBe(17)
  })

  it('collateral survives the way through its JSON form', async () => {
    for (const pair of genuinePairs) {
      const { collateral } = load(pair)
      expect(parseCollateral(JSON.stringify(collateralToJson(collateral)))).toEqual(collateral)
    }
  })
})
