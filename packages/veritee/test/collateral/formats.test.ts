import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { collateralToJson, parseTcbInfo, type Quote } from '../../src/attestation/index.ts'
import { utf8 } from '../../src/bytes/index.ts'
import { fetchCollateral } from '../../src/client/index.ts'
import { judged, type Machine, makeMachine, options, refusal, soon } from './evidence.ts'
import { type Behaviour, type CrlEncoding, type FakePccs, startPccs } from './pccs.ts'

let machine: Machine
let running: FakePccs | null = null
beforeAll(async () => {
  machine = await makeMachine()
})
afterEach(async () => {
  await running?.close()
  running = null
})

async function serve(behaviour: Behaviour = {}, of: 'sgx' | 'tdx' = 'sgx'): Promise<FakePccs> {
  running = await startPccs(of === 'sgx' ? machine.platform.collateral : machine.platform.tdxCollateral, behaviour)
  return running
}

describe('a good answer, fetched over HTTP, is the collateral and verifies', () => {
  test('SGX, from a service as a PCCS has it', async () => {
    const { url, requests } = await serve()
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(collateralToJson(fetched)).toEqual(collateralToJson(machine.platform.collateral))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
    expect([...requests].sort()).toEqual([
      '/sgx/certification/v4/pckcrl?ca=platform&encoding=der',
      '/sgx/certification/v4/qe/identity?update=standard',
      '/sgx/certification/v4/rootcacrl',
      '/sgx/certification/v4/tcb?fmspc=53494D000000&update=standard',
    ])
  })

  test('TDX: documents from /tdx, the list still from /sgx', async () => {
    const { url, requests } = await serve({}, 'tdx')
    const fetched = await fetchCollateral(machine.tdx, options(url))
    expect(await judged(machine.tdx, fetched, machine.trust)).toBe('accepted')
    expect([...requests].sort()).toEqual([
      '/sgx/certification/v4/pckcrl?ca=platform&encoding=der',
      '/sgx/certification/v4/rootcacrl',
      '/tdx/certification/v4/qe/identity?update=standard',
      '/tdx/certification/v4/tcb?fmspc=53494D000000&update=standard',
    ])
  })

  test("a platform of the Processor CA: that authority's list", async () => {
    const other = await makeMachine({ ca: 'processor' })
    running = await startPccs(other.platform.collateral)
    const fetched = await fetchCollateral(other.sgx, options(running.url))
    expect(await judged(other.sgx, fetched, other.trust)).toBe('accepted')
    expect(running.requests).toContain('/sgx/certification/v4/pckcrl?ca=processor&encoding=der')
  })

  test.for([
    ['a trailing slash', '/'],
    ['the ending of a PCCS configuration', '/sgx/certification/v4/'],
    ['a prefix', '/mirror'],
  ])('a base URL with %s', async ([, ending]) => {
    const { url } = await serve()
    const fetched = await fetchCollateral(machine.sgx, options(url + ending))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
  })
})

describe('P17: a revocation list in any encoding becomes the same DER', () => {
  const encodings: readonly CrlEncoding[] = ['der', 'pem', 'hex', 'hex of pem']
  test.for(encodings.flatMap((crl) => encodings.map((rootCrl) => [crl, rootCrl] as const)))(
    'PCK list as %s, root list as %s',
    async ([crl, rootCrl]) => {
      const { url } = await serve({ crl, rootCrl })
      const fetched = await fetchCollateral(machine.sgx, options(url))
      expect(fetched.pckCrl).toEqual(machine.platform.collateral.pckCrl)
      expect(fetched.rootCaCrl).toEqual(machine.platform.collateral.rootCaCrl)
    },
  )

  test.for([
    ['nothing', ''],
    ['an error page', '<html>not here</html>'],
    ['hex of something else', '00ff'],
    ['an odd number of hex digits', '308'],
    ['PEM of another kind', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'],
    ['PEM with damaged base64', '-----BEGIN X509 CRL-----\nM===\n-----END X509 CRL-----\n'],
    ['DER that is no list', Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x01)],
    ['bytes that are no text', Uint8Array.of(0xff, 0xfe, 0x00)],
  ] as const)('P17: %s is not a list', async ([, body]) => {
    const { url } = await serve({ answer: (route, answer) => (route === 'pckcrl' ? { ...answer, body } : answer) })
    const error = await refusal(fetchCollateral(machine.sgx, options(url)))
    expect(error.code).toBe('collateral_unavailable')
    expect(error.cause).toMatchObject({ code: 'crl_malformed' })
  })
})

describe('P18: issuer chains', () => {
  const variants = (['v3', 'v4'] as const).flatMap((headerNames) =>
    (['leaf first', 'root first'] as const).flatMap((chainOrder) =>
      [true, false].map((percentEncoded) => ({ headerNames, chainOrder, percentEncoded })),
    ),
  )
  test.for(variants)('P18: names of $headerNames, $chainOrder, all percent-encoded: $percentEncoded', async (behaviour) => {
    const { url } = await serve(behaviour)
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
  })

  test.for([
    ['absent', undefined],
    ['not percent-encoded well', '%4'],
    ['no PEM', 'none'],
    ['PEM of no certificate', encodeURIComponent('-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n')],
  ] as const)('P18: a header that is %s is refused', async ([, value]) => {
    const { url } = await serve({
      answer: (route, answer) => (route === 'tcb' ? { ...answer, headers: value === undefined ? {} : { 'TCB-Info-Issuer-Chain': value } } : answer),
    })
    expect((await refusal(fetchCollateral(machine.sgx, options(url)))).code).toBe('collateral_unavailable')
  })

  test('P18: chains of the wrong documents are fetched, and refused by verification', async () => {
    const { collateral } = machine.platform
    const swapped = { ...collateral, tcbInfoIssuerChain: collateral.pckCrlIssuerChain, pckCrlIssuerChain: collateral.tcbInfoIssuerChain }
    const { url } = await serve({ collateralFor: () => swapped })
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('crl_issuer_mismatch')
  })
})

describe('P6: the signed text is the text served, byte for byte', () => {
  /** The same document, written otherwise, and signed as it is written. */
  async function rewritten(write: (document: object) => string): Promise<{ text: string; signature: Uint8Array }> {
    const text = write(JSON.parse(machine.platform.collateral.tcbInfo) as object)
    return { text, signature: await machine.vendor.tcbSigning.key.sign(utf8(text)) }
  }

  const reversed = (document: object): object => Object.fromEntries(Object.entries(document).reverse())
  test.for([
    ['indented', (document: object) => JSON.stringify(document, null, 3)],
    ['with members in another order', (document: object) => JSON.stringify(reversed(document))],
    ['with escapes', (document: object) => JSON.stringify(document).replace('"id"', '"\\u0069d"')],
  ] as const)('P6: %s', async ([, write]) => {
    const { text, signature } = await rewritten(write)
    const { url } = await serve({ collateralFor: () => ({ ...machine.platform.collateral, tcbInfo: text, tcbInfoSignature: signature }) })
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(fetched.tcbInfo).toBe(text)
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
  })

  test('P6: white space around the object, other members and upper-case signatures do not belong to it', async () => {
    const { url } = await serve({
      answer: (route, answer) => {
        if (route !== 'tcb') return answer
        const body = String(answer.body).replace(/"signature":"([0-9a-f]+)"/, (_, hex: string) => `"note":[1], "signature" : "${hex.toUpperCase()}"`)
        return { ...answer, body: body.replace('{"tcbInfo":', ' {\n"tcbInfo" :  ') }
      },
    })
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(fetched.tcbInfo).toBe(machine.platform.collateral.tcbInfo)
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
  })

  test.for([
    ['two signed objects', (body: string) => body.replace(/}$/, ',"tcbInfo":{}}')],
    ['a duplicate inside', (body: string) => body.replace('"version":3', '"version":3,"version":3')],
    ['no signature', (body: string) => body.replace('"signature"', '"other"')],
    ['a short signature', (body: string) => body.replace(/"signature":"../, '"signature":"')],
    ['a signature that is a number', (body: string) => body.replace(/"signature":"[0-9a-f]+"/, '"signature":1')],
    ['a text instead of an object', (body: string) => body.replace(/"tcbInfo":\{.*\},"sig/, '"tcbInfo":"{}","sig')],
    ['another member', (body: string) => body.replace('"tcbInfo"', '"enclaveIdentity"')],
    ['a list', () => '[]'],
    ['no JSON', () => 'Service Unavailable'],
    ['deep nesting', (body: string) => body.replace('{"tcbInfo"', `{"deep":${'['.repeat(40)}${']'.repeat(40)},"tcbInfo"`)],
  ] as const)('P6, P25: a body with %s is refused', async ([, edit]) => {
    const { url } = await serve({ answer: (route, answer) => (route === 'tcb' ? { ...answer, body: edit(String(answer.body)) } : answer) })
    expect((await refusal(fetchCollateral(machine.sgx, options(url)))).code).toBe('collateral_unavailable')
  })

  test('a changed text is fetched, and refused by verification', async () => {
    const { url } = await serve({
      answer: (route, answer) => (route === 'tcb' ? { ...answer, body: String(answer.body).replace('"tcbType":0', '"tcbType" :0') } : answer),
    })
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(parseTcbInfo(fetched.tcbInfo).fmspc).toEqual(parseTcbInfo(machine.platform.collateral.tcbInfo).fmspc)
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('tcb_info_signature_invalid')
  })
})

test('what was fetched verifies at its last second and not after', async () => {
  const { url } = await serve()
  const fetched = await fetchCollateral(machine.sgx as Quote, options(url))
  const last = parseTcbInfo(fetched.tcbInfo).nextUpdate
  expect(await judged(machine.sgx, fetched, machine.trust, last)).toBe('accepted')
  expect(await judged(machine.sgx, fetched, machine.trust, new Date(last.getTime() + 1000))).toBe('crl_expired')
  expect(last.getTime()).toBeGreaterThan(soon.getTime())
})
