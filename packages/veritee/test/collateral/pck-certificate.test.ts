import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { parseQuote, type Quote } from '../../src/attestation/index.ts'
import { toHex } from '../../src/bytes/index.ts'
import { completeQuote, fetchCollateral, intelPcs, withPckChain } from '../../src/client/index.ts'
import { enclave, judged, type Machine, makeMachine, options, refusal } from './evidence.ts'
import { asIntel, type Behaviour, type FakePccs, startPccs } from './pccs.ts'

let machine: Machine
let chain: readonly [leaf: string, issuers: string]
const running: FakePccs[] = []
beforeAll(async () => {
  machine = await makeMachine()
  if (machine.sgx.certification.kind === 'platform') throw new Error('expected a chain')
  const text = new TextDecoder().decode(machine.sgx.certification.pem).replaceAll('\0', '')
  const end = text.indexOf('-----END CERTIFICATE-----') + 26
  chain = [text.slice(0, end), text.slice(end)]
})
afterEach(async () => {
  for (const pccs of running.splice(0)) await pccs.close()
})

async function serve(behaviour: Behaviour = {}): Promise<FakePccs> {
  const pccs = await startPccs(machine.platform.collateral, { pckChain: chain, ...behaviour })
  running.push(pccs)
  return pccs
}

async function quoteOf(certification: 1 | 2 | 3 | 4, version: 3 | 4 | 5 = 3): Promise<Quote> {
  return parseQuote(await machine.platform.quote(enclave, new Uint8Array(64), { version, certification }))
}

describe('a quote without its PCK chain', () => {
  test.for([1, 2, 3, 4] as const)('type %d: the chain is fetched from a PCCS, embedded, and the quote verifies', async (type) => {
    const { url } = await serve()
    for (const version of [3, 4, 5] as const) {
      const quote = await quoteOf(type, version)
      const fetched = await fetchCollateral(quote, options(url))
      expect(await judged(quote, fetched, machine.trust)).toBe('quote_no_pck_chain')
      const complete = await completeQuote(quote, options(url))
      expect(complete.certification.type).toBe(5)
      expect(complete.signed).toEqual(quote.signed)
      expect(await judged(complete, fetched, machine.trust)).toBe('accepted')
    }
  })

  test('a PCCS is asked by the QE id as well, and by the encrypted PPID where there is one', async () => {
    const { url, requests } = await serve()
    const quote = await quoteOf(3)
    await completeQuote(quote, options(url))
    const [asked] = requests
    const query = new URL(asked ?? '', url).searchParams
    expect(Object.fromEntries(query)).toEqual({
      qeid: toHex(quote.userData.subarray(0, 16)),
      encrypted_ppid: expect.stringMatching(/^[0-9a-f]{768}$/),
      cpusvn: expect.stringMatching(/^[0-9a-f]{32}$/),
      // Little-endian: 16 is 1000.
      pcesvn: '1000',
      pceid: '0000',
    })
    requests.length = 0
    await completeQuote(await quoteOf(1), options(url))
    expect(requests[0]).not.toContain('encrypted_ppid')
  })

  test("Intel's service is asked for type 3 only, without a QE id", async () => {
    const pccs = await serve()
    const get = asIntel(pccs, machine.platform.collateral.rootCaCrl)
    const complete = await completeQuote(await quoteOf(3), options(intelPcs, { get }))
    expect(await judged(complete, machine.platform.collateral, machine.trust)).toBe('accepted')
    expect(pccs.requests[0]).not.toContain('qeid')
    const error = await refusal(completeQuote(await quoteOf(1), options(intelPcs, { get })))
    expect(error.code).toBe('quote_no_pck_chain')
    expect(pccs.requests).toHaveLength(1)
  })

  test.for([404, 400])('where the service answers %d, the error says which certificate to fetch', async (status) => {
    const { url } = await serve({ answer: (route, answer) => (route === 'pckcert' ? { status, headers: {}, body: '' } : answer) })
    const error = await refusal(fetchCollateral(await quoteOf(1), options(url)))
    expect(error.code).toBe('quote_no_pck_chain')
    expect(error.message).toContain(`PPID ${machine.platform.ppid}, PCE id 0000, CPU SVN 0c0c0303ffff01000000000000000000, PCE SVN 1000`)
  })

  test('the next service is asked where the first one fails', async () => {
    const [bad, good] = [await serve({ answer: () => null }), await serve()]
    const complete = await completeQuote(await quoteOf(3), options([bad.url, good.url]))
    expect(await judged(complete, machine.platform.collateral, machine.trust)).toBe('accepted')
  })

  test("another platform's certificate is embedded, and refused by verification", async () => {
    const other = await makeMachine({ vendor: machine.vendor, ppid: '77'.repeat(16) })
    if (other.sgx.certification.kind === 'platform') throw new Error('expected a chain')
    const text = new TextDecoder().decode(other.sgx.certification.pem).replaceAll('\0', '')
    const end = text.indexOf('-----END CERTIFICATE-----') + 26
    const { url } = await serve({ pckChain: [text.slice(0, end), text.slice(end)] })
    const complete = await completeQuote(await quoteOf(3), options(url))
    expect(await judged(complete, machine.platform.collateral, machine.trust)).toBe('qe_report_signature_invalid')
  })

  test.for([
    ['no PEM', 'none'],
    ['a certificate that is no PCK certificate', null],
  ] as const)('an answer that is %s is refused', async ([, body]) => {
    const { url } = await serve({ pckChain: [body ?? chain[1], chain[1]] })
    expect((await refusal(completeQuote(await quoteOf(3), options(url)))).code).toBe('quote_no_pck_chain')
  })
})

describe('embedding a chain', () => {
  test('a quote that carries its chain is left as it is', async () => {
    expect(await completeQuote(machine.sgx, options('https://unasked.example'))).toBe(machine.sgx)
  })

  test.for(['sgx', 'tdx'] as const)('a %s quote with its own chain embedded again verifies', async (tee) => {
    const quote = machine[tee]
    const collateral = tee === 'sgx' ? machine.platform.collateral : machine.platform.tdxCollateral
    expect(await judged(withPckChain(quote, chain.join('')), collateral, machine.trust)).toBe('accepted')
  })

  test('a quote whose chain cannot be read asks nobody', async () => {
    const unreadable = withPckChain(machine.sgx, 'none')
    expect((await refusal(fetchCollateral(unreadable, options('https://unasked.example')))).code).toBe('malformed_encoding')
    const foreign = withPckChain(machine.sgx, chain[1])
    expect((await refusal(fetchCollateral(foreign, options('https://unasked.example')))).code).toBe('certificate_malformed')
  })
})
