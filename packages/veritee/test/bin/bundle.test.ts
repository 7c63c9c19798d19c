import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatCollateral } from '../../src/attestation/index.ts'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { parseBundle } from '../../src/receipt/index.ts'
import { collateralText, genuinePairs, haveVectors, quoteOf, vectorsNote } from '../attestation/vectors.ts'
import { type Kept, keepExchange, partsOf, policyFor } from '../bundle/service.ts'
import { judgedAt } from '../receipt/enclaves.ts'
import { veritee } from './cli.ts'

let directory: string
let kept: Kept
const path = (name: string): string => join(directory, name)

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-bundle-'))
  kept = await keepExchange()
  const { quote, collateral } = partsOf(kept)
  const files: { readonly [name: string]: string | Uint8Array } = {
    quote,
    collateral: formatCollateral(collateral),
    report: kept.report,
    receipt: kept.receipt,
    session: kept.session,
    worker: kept.workerReceipt,
    request: kept.request,
    response: kept.response,
    policy: JSON.stringify(policyFor()),
    'root.pem': certificatePem(kept.trust.roots[0]),
  }
  for (const [name, contents] of Object.entries(files)) await writeFile(path(name), contents)
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const create = (name: string, ...args: readonly string[]) => veritee(['bundle', 'create', ...args, '-o', path(name)])
const at = judgedAt.toISOString()
const verify = (name: string, ...args: readonly string[]) => veritee(['bundle', 'verify', path(name), '--root', path('root.pem'), ...args])
const everything = (): readonly string[] => [
  ...['--report', path('report'), '--receipt', path('receipt'), '--session', path('session'), '--worker-receipt', path('worker')],
  ...['--request', path('request'), '--response', path('response')],
]

describe('bundle create', () => {
  test('from a report, with everything of an exchange', async () => {
    const { code, stdout, stderr } = await create('whole.json', ...everything())
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain('nothing was verified')
    const bundle = parseBundle(await readFile(path('whole.json'), 'utf8'))
    expect(bundle.exchange?.requestBody).toEqual(kept.request)
    expect(bundle.exchange?.session).toBe(kept.session)
  })

  test('from a quote and collateral', async () => {
    expect((await create('quote.json', '--quote', path('quote'), '--collateral', path('collateral'))).code).toBe(0)
    expect(parseBundle(await readFile(path('quote.json'), 'utf8'))).toMatchObject({ report: null, exchange: null })
  })

  test.for([
    ['no quote', []],
    ['no collateral', ['--quote', 'quote']],
    ['a receipt without a report', ['--quote', 'quote', '--collateral', 'collateral', '--receipt', 'receipt']],
    ['a session without a receipt', ['--report', 'report', '--session', 'session']],
    ['a positional argument', ['report']],
  ] as const)('%s: exit 2', async ([, args]) => {
    const resolved = args.map((arg) => (arg.startsWith('--') ? arg : path(arg)))
    expect((await create('never.json', ...resolved)).code).toBe(2)
  })

  test('no -o: exit 2; parts that cannot be read or do not belong together: exit 1', async () => {
    expect((await veritee(['bundle', 'create', '--report', path('report')])).code).toBe(2)
    const mixed = await create('never.json', '--quote', path('root.pem'), '--report', path('report'))
    expect([mixed.code, mixed.stderr.includes('bundle_malformed')]).toEqual([1, true])
    expect((await create('never.json', '--report', path('policy'))).code).toBe(1)
    expect((await create('never.json', '--report', path('absent'))).code).toBe(3)
  })
})

describe('bundle verify', () => {
  beforeAll(async () => {
    await create('whole.json', ...everything())
    await create('quote.json', '--quote', path('quote'), '--collateral', path('collateral'))
  })

  test('under a policy: accepted, and told SIMULATED', async () => {
    const { code, stdout } = await verify('whole.json', '--policy', path('policy'), '--role', 'controller', '--at', at)
    expect(code).toBe(0)
    expect(stdout).toContain('ACCEPTED, SIMULATED')
    expect(stdout).toContain('– report.nonce')
    expect(stdout).toContain('✓ worker.policy')
  })

  test('--json: the verdict, with the nonces that the verifier drew', async () => {
    const nonces = ['--nonce', kept.nonce, '--client-nonce', kept.clientNonce]
    const { code, stdout } = await verify('whole.json', '--policy', path('policy'), '--role', 'controller', '--at', at, '--json', ...nonces)
    expect(code).toBe(0)
    const verdict = JSON.parse(stdout) as { verdict: string; scope: string; checks: { id: string; status: string }[] }
    expect(verdict).toMatchObject({ verdict: 'accepted', scope: 'policy', simulated: true, error: null })
    expect(verdict.checks.find(({ id }) => id === 'receipt.nonce')?.status).toBe('pass')
  })

  test('S14: without a policy: genuineness only, and simulated evidence is not', async () => {
    const { code, stdout } = await verify('whole.json', '--at', at, '--json')
    expect(code).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ verdict: 'rejected', scope: 'genuineness', error: { code: 'policy_simulated' } })
  })

  test('at another time, under no root, or with another nonce: exit 1 and what was established before', async () => {
    const late = await verify('whole.json', '--at', '2030-01-01T00:00:00Z', '--json')
    expect([late.code, (JSON.parse(late.stdout) as { error: { code: string } }).error.code]).toEqual([1, 'crl_expired'])
    const rootless = await veritee(['bundle', 'verify', path('whole.json'), '--at', at])
    expect([rootless.code, rootless.stdout.includes('chain_untrusted')]).toEqual([1, true])
    const other = await verify('whole.json', '--at', at, '--client-nonce', 'ab'.repeat(32), '--json')
    const verdict = JSON.parse(other.stdout) as { error: { code: string }; checks: { id: string; status: string }[] }
    expect([other.code, verdict.error.code, verdict.checks.at(-1)]).toMatchObject([
      1,
      'receipt_nonce_mismatch',
      { id: 'receipt.nonce', status: 'fail' },
    ])
  })

  test('a file that is no bundle: exit 1; none at all: exit 3', async () => {
    expect((await verify('report', '--at', at)).code).toBe(1)
    expect((await verify('absent', '--at', at)).code).toBe(3)
  })

  test.for([
    ['a role without a policy', ['--role', 'controller']],
    ['a policy of two roles without a role', ['--policy', 'policy']],
    ['an unknown role', ['--policy', 'policy', '--role', 'client']],
    ['a role without a section', ['--policy', 'policy', '--role', 'broker']],
    ['a nonce that is none', ['--nonce', 'abc']],
    ['a time that is none', ['--at', 'yesterday']],
    ['a policy that is none', ['--policy', 'report', '--role', 'controller']],
  ] as const)('%s: exit 2', async ([, args]) => {
    const resolved = args.map((arg) => (arg === 'policy' || arg === 'report' ? path(arg) : arg))
    expect((await verify('whole.json', ...(args[0] === '--at' ? [] : ['--at', at]), ...resolved)).code).toBe(2)
  })

  test('an unknown verb: exit 2', async () => {
    expect((await veritee(['bundle', 'judge'])).code).toBe(2)
  })
})

describe.skipIf(!haveVectors)(`a real quote in a bundle${vectorsNote}`, () => {
  test('is genuine at its time, years later', async () => {
    const pair = genuinePairs.find(({ tcbStatus }) => tcbStatus === 'UpToDate') ?? genuinePairs[0]
    if (pair === undefined) throw new Error('no vector')
    await writeFile(path('real.bin'), quoteOf(pair.vector))
    await writeFile(path('real-collateral.json'), collateralText(pair))
    expect((await create('real.json', '--quote', path('real.bin'), '--collateral', path('real-collateral.json'))).code).toBe(0)
    const { code, stdout } = await veritee(['bundle', 'verify', path('real.json'), '--at', String(pair.at)])
    expect([code, stdout.includes('GENUINE HARDWARE; THE CODE IN IT WAS NOT JUDGED')]).toEqual([0, true])
    expect((await veritee(['bundle', 'verify', path('real.json'), '--at', '2035-01-01T00:00:00Z'])).code).toBe(1)
  })
})
