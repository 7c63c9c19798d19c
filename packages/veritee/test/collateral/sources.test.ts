import { gzipSync } from 'node:zlib'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { collateralToJson } from '../../src/attestation/index.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { fetchCollateral, type Get, intelPcs, type SourceOutcome } from '../../src/client/index.ts'
import { at, judged, type Machine, makeMachine, options, refusal, soon } from './evidence.ts'
import { asIntel, type Behaviour, type FakePccs, startPccs } from './pccs.ts'

let machine: Machine
const running: FakePccs[] = []
beforeAll(async () => {
  machine = await makeMachine()
})
afterEach(async () => {
  for (const pccs of running.splice(0)) await pccs.close()
})

async function serve(behaviour: Behaviour = {}): Promise<FakePccs> {
  const pccs = await startPccs(machine.platform.collateral, behaviour)
  running.push(pccs)
  return pccs
}

const failing: readonly (readonly [string, Behaviour, RegExp])[] = [
  ['answers 404', { answer: () => ({ status: 404, headers: {}, body: '' }) }, /answered 404/],
  ['answers 429', { answer: () => ({ status: 429, headers: { 'Retry-After': '120' }, body: '' }) }, /answered 429/],
  ['answers 500', { answer: () => ({ status: 500, headers: {}, body: 'broken' }) }, /answered 500/],
  [
    'answers 503 to one route only',
    { answer: (route, answer) => (route === 'qe' ? { ...answer, status: 503 } : answer) },
    /qe\/identity: answered 503/,
  ],
  ['redirects', { answer: (_, answer) => ({ ...answer, status: 302, headers: { location: 'http://127.0.0.1:1/' } }) }, /answered 302/],
  ['resets the connection', { answer: () => null }, /ECONNRESET|hang up/],
  [
    'cuts a body short',
    {
      take: (_, answer, response) => {
        response.writeHead(200, { ...answer.headers, 'content-length': 100_000 })
        response.write('{"tcbInfo":{')
        setTimeout(() => response.destroy(), 20)
        return true
      },
    },
    /aborted|ECONNRESET/,
  ],
  ['says nothing in time', { take: () => true }, /no complete answer in time/],
  [
    'stops in the middle of a body',
    {
      take: (_, answer, response) => {
        response.writeHead(200, answer.headers)
        response.write('{"tcbInfo":{')
        return true
      },
    },
    /no complete answer in time/,
  ],
  [
    'sends without an end',
    {
      take: (route, answer, response) => {
        if (route !== 'tcb') return false
        response.writeHead(200, answer.headers)
        const more = (): void => {
          while (!response.destroyed && response.write(' '.repeat(65_536)));
        }
        response.on('drain', more)
        more()
        return true
      },
    },
    /expected at most 1048576 bytes/,
  ],
  [
    'compresses unasked',
    { answer: (_, answer) => ({ ...answer, headers: { ...answer.headers, 'content-encoding': 'gzip' }, body: gzipSync(answer.body) }) },
    /content-encoding "gzip"/,
  ],
  [
    'sends headers without an end',
    { answer: (_, answer) => ({ ...answer, headers: { ...answer.headers, padding: 'x'.repeat(70_000) } }) },
    /Header overflow/i,
  ],
]

describe('a source that fails', () => {
  test.for(failing)('%s: refused, and the reason named', async ([, behaviour, reason]) => {
    const { url } = await serve(behaviour)
    const error = await refusal(fetchCollateral(machine.sgx, options(url, { timeoutMs: 500 })))
    expect(error.code).toBe('collateral_unavailable')
    expect(error.message).toMatch(reason)
    expect(error.message).toContain(url)
  })

  test.for(failing)('%s: the next one serves', async ([, behaviour]) => {
    const [bad, good] = [await serve(behaviour), await serve()]
    const outcomes: SourceOutcome[] = []
    const settings = options([bad.url, good.url], { timeoutMs: 3000, onOutcome: (outcome) => outcomes.push(outcome) })
    const fetched = await fetchCollateral(machine.sgx, settings)
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
    expect(outcomes.map(({ url, result }) => [url, result])).toEqual([
      [bad.url, 'failed'],
      [good.url, 'fetched'],
    ])
  })

  test('nobody listens there', async () => {
    const gone = await startPccs(machine.platform.collateral)
    await gone.close()
    expect((await refusal(fetchCollateral(machine.sgx, options(gone.url)))).message).toContain('ECONNREFUSED')
  })

  test('a client that ignores the signal does not hold its caller', async () => {
    const never: Get = () => new Promise(() => undefined)
    const error = await refusal(fetchCollateral(machine.sgx, options('https://example.invalid', { get: never, timeoutMs: 50 })))
    expect(error.message).toContain('no complete answer in time')
  })

  test('a client that ignores the bound does not pass its body on', async () => {
    const { url } = await serve()
    const { get } = options(url)
    const padded: Get = async (target, settings) => ({ ...(await get(target, settings)), body: new Uint8Array((1 << 20) + 1) })
    expect((await refusal(fetchCollateral(machine.sgx, options(url, { get: padded })))).message).toContain('expected at most 1048576 bytes')
  })

  test('a slow source within its time is waited for', async () => {
    const { url } = await serve({ answer: (_, answer) => new Promise((resolve) => setTimeout(() => resolve(answer), 100)) })
    expect(await judged(machine.sgx, await fetchCollateral(machine.sgx, options(url)), machine.trust)).toBe('accepted')
  })

  test('all of them fail: each is named', async () => {
    const [first, second] = [await serve({ answer: () => null }), await serve({ answer: (_, answer) => ({ ...answer, status: 500 }) })]
    const { message } = await refusal(fetchCollateral(machine.sgx, options([first.url, second.url])))
    expect(message).toContain(first.url)
    expect(message).toContain(`${second.url}: `)
  })
})

describe('a source that has something else is passed over', () => {
  const others: readonly (readonly [string, () => Promise<Machine['platform']['collateral']>, RegExp])[] = [
    [
      'another FMSPC',
      async () => (await createSimPlatform({ at, vendor: machine.vendor, fmspc: '00906ed50000' })).collateral,
      /FMSPC 53494d000000.*00906ed50000/,
    ],
    [
      'another PCE id',
      async () => (await createSimPlatform({ at, vendor: machine.vendor, pceId: '0100' })).collateral,
      /PCE id 0000, found sgx, 53494d000000, 0100/,
    ],
    ['TCB info for the other TEE', async () => machine.platform.tdxCollateral, /for sgx.*found tdx/],
    [
      'P9: the QE identity of the other TEE',
      async () => ({ ...machine.platform.collateral, qeIdentity: machine.platform.tdxCollateral.qeIdentity }),
      /the QE identity for sgx, found that for tdx/,
    ],
    [
      'a set that has expired',
      async () => (await createSimPlatform({ at: new Date(at.getTime() - 60 * 86_400_000), vendor: machine.vendor })).collateral,
      /expired at/,
    ],
  ]
  test.for(others)('%s', async ([, make, reason]) => {
    const other = await make()
    const [bad, good] = [await serve({ collateralFor: () => other }), await serve()]
    expect((await refusal(fetchCollateral(machine.sgx, options(bad.url)))).message).toMatch(reason)
    const fetched = await fetchCollateral(machine.sgx, options([bad.url, good.url]))
    expect(collateralToJson(fetched)).toEqual(collateralToJson(machine.platform.collateral))
  })
})

describe('P23: one evaluation', () => {
  const numbered = (evaluationDataNumber: number): Promise<Machine['platform']['collateral']> =>
    createSimPlatform({ at, vendor: machine.vendor, evaluationDataNumber }).then(({ collateral }) => collateral)

  test.for([
    ['standard', 'update=standard'],
    ['early', 'update=early'],
    [17, 'tcbEvaluationDataNumber=17'],
  ] as const)('P23: %s is asked for as %s, never with the other parameter', async ([evaluation, query]) => {
    const set = await numbered(17)
    const { url, requests } = await serve({ collateralFor: () => set })
    await fetchCollateral(machine.sgx, options(url, { evaluation }))
    const asked = requests.filter((path) => path.includes('/tcb') || path.includes('/qe/'))
    expect(asked).toHaveLength(2)
    for (const path of asked) {
      expect(path).toContain(query)
      expect(path.includes('update=') && path.includes('tcbEvaluationDataNumber=')).toBe(false)
    }
  })

  test('P23: a source that ignores the number asked for is passed over', async () => {
    const [ignores, knows] = [await serve(), await numbered(17)]
    const good = await serve({ collateralFor: () => knows })
    const error = await refusal(fetchCollateral(machine.sgx, options(ignores.url, { evaluation: 17 })))
    expect(error.message).toContain('expected evaluation number 17, found 20')
    const fetched = await fetchCollateral(machine.sgx, options([ignores.url, good.url], { evaluation: 17 }))
    expect(fetched.tcbInfo).toBe(knows.tcbInfo)
  })

  test.for([
    ['TCB info is older', 'tcb', 'tcb?fmspc=53494D000000&tcbEvaluationDataNumber=20'],
    ['the QE identity is older', 'qe', 'qe/identity?tcbEvaluationDataNumber=20'],
  ] as const)('P23: where %s, it is asked for again by the newer number', async ([, lagging, again]) => {
    const old = await numbered(19)
    const { url, requests } = await serve({
      collateralFor: ({ pathname, search }) =>
        pathname.endsWith(lagging === 'qe' ? '/identity' : '/tcb') && search.includes('update=') ? old : machine.platform.collateral,
    })
    const fetched = await fetchCollateral(machine.sgx, options(url))
    expect(collateralToJson(fetched)).toEqual(collateralToJson(machine.platform.collateral))
    expect(requests.filter((path) => path.includes('DataNumber'))).toEqual([`/sgx/certification/v4/${again}`])
  })

  test('P23: a mixture that asking again does not mend is refused', async () => {
    const old = await numbered(19)
    const { url, requests } = await serve({ collateralFor: ({ pathname }) => (pathname.endsWith('/tcb') ? old : machine.platform.collateral) })
    const error = await refusal(fetchCollateral(machine.sgx, options(url)))
    expect(error.code).toBe('collateral_unavailable')
    expect(error.message).toContain('of one evaluation, found numbers 19 and 20')
    expect(requests.filter((path) => path.includes('/tcb'))).toHaveLength(2)
  })
})

describe("the root's list", () => {
  const url = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'

  test("Intel's service has no route for it: it comes from where the root certificate says", async () => {
    const asked: string[] = []
    const pccs = await serve({ rootCrl: 'absent', crl: 'pem' })
    const get = asIntel(pccs, machine.platform.collateral.rootCaCrl, asked)
    const fetched = await fetchCollateral(machine.sgx, options(intelPcs, { get }))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
    expect(asked).toContain(url)
    expect(asked.every((target) => target === url || target.startsWith(`${intelPcs}/sgx/certification/v4/`))).toBe(true)
    expect(pccs.requests).not.toContain('/sgx/certification/v4/rootcacrl')
  })

  test('a mirror without the route: the same', async () => {
    const pccs = await serve({ rootCrl: 'absent' })
    const { get } = options(pccs.url)
    const mixed: Get = (target, settings) =>
      target === url ? Promise.resolve({ status: 200, headers: {}, body: machine.platform.collateral.rootCaCrl }) : get(target, settings)
    const fetched = await fetchCollateral(machine.sgx, options(pccs.url, { get: mixed }))
    expect(await judged(machine.sgx, fetched, machine.trust)).toBe('accepted')
  })

  test.for([
    ['another host', 'https://169.254.169.254/latest/meta-data'],
    ['another port', 'https://certificates.trustedservices.intel.com:8443/x'],
    ['plain HTTP', 'http://certificates.trustedservices.intel.com/IntelSGXRootCA.der'],
    ['credentials', 'https://a:b@certificates.trustedservices.intel.com/IntelSGXRootCA.der'],
    ['a host that ends alike', 'https://evil-certificates.trustedservices.intel.com/x'],
    ['a host that begins alike', 'https://certificates.trustedservices.intel.com.evil.example/x'],
    ['a file', 'file:///etc/passwd'],
    ['no URL', 'nowhere'],
  ])('an URL in a certificate is not followed where it names %s', async ([, rootCrlAt]) => {
    const forged = await makeMachine({ rootCrlAt: rootCrlAt ?? '' })
    const pccs = await startPccs(forged.platform.collateral, { rootCrl: 'absent' })
    running.push(pccs)
    const asked: string[] = []
    const get: Get = (target, settings) => {
      asked.push(target)
      return options(pccs.url).get(target, settings)
    }
    const error = await refusal(fetchCollateral(forged.sgx, options(pccs.url, { get })))
    expect(error.code).toBe('collateral_unavailable')
    expect(error.message).toMatch(/not on the list of allowed hosts|to name where/)
    expect(asked.every((target) => target.startsWith(`${pccs.url}/`))).toBe(true)
  })

  test('a failing route is a failing source, not a reason to look elsewhere', async () => {
    const pccs = await serve({ answer: (route, answer) => (route === 'rootcacrl' ? { ...answer, status: 500 } : answer) })
    expect((await refusal(fetchCollateral(machine.sgx, options(pccs.url)))).message).toContain('rootcacrl: answered 500')
  })
})

describe('wrong use', () => {
  test.for([
    ['plain HTTP to elsewhere', 'http://pccs.example'],
    ['credentials', 'https://user:secret@pccs.example'],
    ['a query', 'https://pccs.example/?key=1'],
    ['API version 3', 'https://pccs.example/sgx/certification/v3/'],
    ['another scheme', 'ftp://pccs.example'],
    ['no URL', 'pccs.example'],
  ])('%s is a usage error', async ([, url]) => {
    const error = await refusal(fetchCollateral(machine.sgx, options(url ?? '')))
    expect(error.code).toBe('usage')
    expect(error.message).not.toContain('secret')
  })

  test('no URL at all, and an evaluation that is none, are TypeErrors', async () => {
    await expect(fetchCollateral(machine.sgx, { ...options('https://a.example'), urls: [] as never })).rejects.toThrow(TypeError)
    for (const evaluation of ['late', -1, 1.5, Number.NaN, undefined] as never[])
      await expect(fetchCollateral(machine.sgx, options('https://a.example', { evaluation }))).rejects.toThrow(TypeError)
  })

  test('fetching looks at the clock it is given', async () => {
    const { url } = await serve()
    const late = new Date(soon.getTime() + 31 * 86_400_000)
    expect((await refusal(fetchCollateral(machine.sgx, options(url, { now: () => late })))).message).toContain('expired at')
  })
})
