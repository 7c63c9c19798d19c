import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { formatCollateral } from '../../src/attestation/index.ts'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { toHex } from '../../src/bytes/index.ts'
import { haveVectors, pairs, vectorsNote } from '../attestation/vectors.ts'
import { at, enclave, lenient, sgxClaims, soon } from '../policy/documents.ts'
import { createMakers } from '../release/makers.ts'
import { expectRefusal, folder, json, veritee } from './cli.ts'

const files = folder()
let quote: string
let collateral: string
let root: string
let policy: string
let debugQuote: string
let quoteBytes: Uint8Array
const tdQuotes: string[] = []
const rtmrs = { rtmr0: 'a0'.repeat(48), rtmr1: 'a1'.repeat(48), rtmr2: 'a2'.repeat(48), rtmr3: 'a3'.repeat(48) }
const time = ['--at', soon.toISOString()]
const shape = ['checks', 'error', 'quote', 'scope', 'simulated', 'tcb', 'verdict', 'warnings']

beforeAll(async () => {
  const platform = await createSimPlatform({ at })
  quoteBytes = await platform.quote(enclave, new Uint8Array(64))
  quote = files.write('quote.bin', quoteBytes)
  debugQuote = files.write('debug.bin', await platform.quote({ ...enclave, debug: true }, new Uint8Array(64)))
  for (const body of ['td10', 'td15'] as const)
    tdQuotes.push(files.write(`${body}.bin`, await platform.tdQuote({ mrtd: 'c3'.repeat(48), ...rtmrs }, new Uint8Array(64), { body })))
  collateral = files.write('collateral.json', formatCollateral(platform.collateral))
  root = files.write('root.pem', certificatePem(platform.root))
  const section = { ...lenient(await sgxClaims()), debug: 'refuse' }
  policy = files.write('policy.json', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: section } }))
  files.write('root.der', platform.root)
  files.write('two-roles.json', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: section, controller: section } }))
  const issued = Math.floor(at.getTime() / 1000)
  const makers = await createMakers(issued)
  const released = { ...section, identity: 'released', release: makers.logged }
  files.write('released.json', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: released } }))
  const { statement, proof } = await makers.inLog(await makers.statement())
  for (const name of ['statement.json', 'bare.json']) files.write(name, `${statement}\n`)
  files.write('statement.json.tlog-proof', proof ?? '')
  const current = await createMakers(Math.floor(Date.now() / 1000) - 60)
  files.write('current-policy.json', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: { ...released, release: current.demand } } }))
  files.write('current.json', await current.statement())
  files.write('current-withdraws.json', await current.statement({ release: '0.2.0', withdrawn: ['0.1.0'] }))
  files.write('withdrawn.json', await makers.statement({ withdrawn: ['0.1.0'] }))
  files.write('withdrawn.json.tlog-proof', (await makers.inLog(await makers.statement({ withdrawn: ['0.1.0'] }))).proof ?? '')
})
const judge = (...more: string[]): ReturnType<typeof veritee> =>
  veritee(['verify', quote, '--collateral', collateral, '--root', root, ...time, ...more])

describe('help and wrong usage', () => {
  it.each([[['--help']], [['-h']], [['verify', '--help']], [['inspect', '-h']], [['chat', '--help']], [['receipt', '--help']]])(
    '%j is 0 and on stdout',
    async (args) => {
      const { code, stdout, stderr } = await veritee(args)
      expect([code, stderr, stdout.includes('Exit codes: 0')]).toEqual([0, '', true])
    },
  )
  it('--version is the version alone', async () => {
    expect((await veritee(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
  it.each([[[]], [['verfiy']], [['\u001b[31m']]])('%j is 2, with one line on stderr', async (args) => {
    const { code, stdout, stderr } = await veritee(args)
    expect([code, stdout, stderr.split('\n').length, stderr.includes('\u001b')]).toEqual([2, '', 2, false])
  })
  it.each<[string, () => string[]]>([
    ['no quote', () => ['verify', '--collateral', collateral]],
    ['two quotes', () => ['verify', quote, quote, '--collateral', collateral]],
    ['no collateral', () => ['verify', quote]],
    ['an unknown option', () => ['verify', quote, '--collateral', collateral, '--force']],
    ['an option without its value', () => ['verify', quote, '--collateral']],
    ['an ambiguous value', () => ['verify', quote, '--collateral', collateral, '--at', '-5']],
    ['a role without a policy', () => ['verify', quote, '--collateral', collateral, '--role', 'worker']],
    ['an unknown role', () => ['verify', quote, '--collateral', collateral, '--policy', policy, '--role', 'admin']],
    ['two roles and none named', () => ['verify', quote, '--collateral', collateral, '--policy', files.path('two-roles.json')]],
    ['a root that is no certificate', () => ['verify', quote, '--collateral', collateral, '--root', policy]],
    ['inspect without a quote', () => ['inspect']],
  ])('%s is 2', async (_, args) => {
    expectRefusal(await veritee(args()), 2, 'usage')
  })
  it.each([
    'yesterday',
    '2026-02-30T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-05-06',
    '2026-05-06T07:08:09',
    '1.5',
    '',
    '999999999999',
    '2026-05-06T25:00:00Z',
  ])('--at %j is 2', async (text) => {
    expectRefusal(await veritee(['verify', quote, '--collateral', collateral, `--at=${text}`]), 2, 'usage')
  })
  it('a role that the policy lacks and an invalid policy are 2', async () => {
    expectRefusal(await judge('--policy', policy, '--role', 'controller'), 2, 'policy_role_missing')
    expectRefusal(await judge('--policy', collateral), 2, 'policy_invalid')
  })
})

describe('S25: a release statement against a policy, without evidence', () => {
  const check = (policyFile: string, ...releases: string[]): ReturnType<typeof veritee> =>
    veritee(['policy', 'check', files.path(policyFile), ...releases.flatMap((name) => ['--release', files.path(name)])])
  it('says until when it counts, for which role, and with how many measurements', async () => {
    expect(await check('current-policy.json', 'current.json')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^release 0\.1\.0 counts for a worker until 20\d\d-\S+Z, with 1 measurements$/m),
    })
    expect(await check('current-policy.json')).toMatchObject({ code: 0, stdout: 'valid, with a section for worker\n' })
  })
  it.each([
    ['one that is over', ['released.json', 'statement.json'], 1, 'release_expired'],
    ['one that another withdraws', ['current-policy.json', 'current.json', 'current-withdraws.json'], 1, 'release_withdrawn'],
    ['one of other makers', ['current-policy.json', 'statement.json'], 1, 'release_signatures_missing'],
    ['one without its proof', ['released.json', 'bare.json'], 3, 'log_entry_missing'],
    ['one for a policy that demands none', ['policy.json', 'current.json'], 2, 'usage'],
  ] as const)('refuses %s', async (_, [policyFile, ...releases], exit, code) => {
    expectRefusal(await check(policyFile, ...releases), exit, code)
  })
})

describe('S25: with a release statement beside the policy', () => {
  const released = (...more: string[]): ReturnType<typeof veritee> => judge('--policy', files.path('released.json'), ...more)
  it('evidence is accepted by the statement, its signatures and its proof, with nothing else listed', async () => {
    const { code, stdout } = await released('--release', files.path('statement.json'))
    expect([code, stdout.includes('release 0.1.0')]).toEqual([0, true])
  })
  it('and refused without one, without its proof, and where a second one withdraws it', async () => {
    expect(await released()).toMatchObject({ code: 1, stdout: expect.stringContaining('policy_release') })
    expectRefusal(await released('--release', files.path('bare.json')), 3, 'log_entry_missing')
    const both = ['--release', files.path('statement.json'), '--release', files.path('withdrawn.json')]
    expect(await released(...both)).toMatchObject({ code: 1, stdout: expect.stringContaining('release_withdrawn') })
    expectRefusal(await judge('--policy', policy, '--release', files.path('statement.json')), 2, 'usage')
    expectRefusal(await judge('--release', files.path('statement.json')), 2, 'usage')
  })
})

describe('what is not there', () => {
  it.each<[string, () => string[]]>([
    ['quote', () => ['verify', files.path('none'), '--collateral', collateral]],
    ['collateral', () => ['verify', quote, '--collateral', files.path('none')]],
    ['policy', () => ['verify', quote, '--collateral', collateral, '--policy', files.path('none')]],
    ['root', () => ['verify', quote, '--collateral', collateral, '--root', files.path('none')]],
    ['quote to inspect', () => ['inspect', files.path('none')]],
    ['file but a folder', () => ['inspect', files.path('.')]],
  ])('a missing %s is 3', async (_, args) => {
    expectRefusal(await veritee(args()), 3, 'file_unavailable')
  })
  it('a file past its bound is 3', async () => {
    expectRefusal(await veritee(['inspect', files.write('large', new Uint8Array((4 << 20) + 1))]), 3, 'file_unavailable')
  })
})

describe('judging', () => {
  it('S14, S15: a simulated quote without a policy is rejected, whatever root is passed', async () => {
    const ran = await judge()
    expect(ran.code).toBe(1)
    expect(ran.stdout).toMatch(/^REJECTED: policy_simulated: [^\n]+$/m)
    const other = await veritee(['verify', quote, '--collateral', collateral, ...time, '--json'])
    expect([other.code, json(other)]).toMatchObject([1, { verdict: 'rejected', error: { code: 'chain_untrusted' }, tcb: null }])
  })
  it('S15: under a policy that allows it, it is accepted and says SIMULATED', async () => {
    const ran = await judge('--policy', policy)
    expect([ran.code, ran.stderr]).toEqual([0, ''])
    expect(ran.stdout).toMatch(/ACCEPTED, SIMULATED: this proves nothing about hardware\n$/)
  })
  it('prints one JSON document of the agreed shape, and nothing else', async () => {
    const ran = await judge('--policy', policy, '--json', '--role', 'worker')
    const verdict = json(ran)
    expect([ran.code, ran.stderr, Object.keys(verdict).sort()]).toEqual([0, '', shape])
    expect(verdict).toMatchObject({
      verdict: 'accepted',
      scope: 'policy',
      simulated: true,
      tcb: { status: 'UpToDate', evaluationDataNumber: 20, advisories: [] },
      error: null,
      quote: { version: 3, tee: 'sgx', body: { mrenclave: enclave.mrenclave, isvProdId: 3 }, trailingBytes: 0 },
    })
    expect(Object.keys(verdict.tcb as object).sort()).toEqual(['advisories', 'evaluationDataNumber', 'status', 'tcbDate'])
    for (const check of verdict.checks as object[]) expect(Object.keys(check).sort()).toEqual(['detail', 'id', 'status'])
    expect((verdict.warnings as string[]).join('\n')).toContain('a quote alone')
  })
  it('a debug enclave is rejected by the policy, and the verdict names the check', async () => {
    const ran = await veritee(['verify', debugQuote, '--collateral', collateral, '--root', root, ...time, '--policy', policy, '--json'])
    expect([ran.code, json(ran)]).toMatchObject([1, { verdict: 'rejected', error: { code: 'policy_debug' } }])
  })
  it('takes the quote as hex, and the root as DER', async () => {
    const hex = files.write('quote.hex', `0x${toHex(quoteBytes).replace(/(.{64})/g, '$1\n')}\n`)
    const ran = await veritee(['verify', hex, '--collateral', collateral, '--root', files.path('root.der'), ...time, '--policy', policy])
    expect(ran.code).toBe(0)
  })
  it.each(['2026-05-06T08:08:09Z', '2026-05-06t08:08:09z', '2026-05-06T10:08:09.000+02:00', '1778054889'])('takes the time as %s', async (text) => {
    expect((await veritee(['verify', quote, '--collateral', collateral, '--root', root, '--policy', policy, '--at', text])).code).toBe(0)
  })
  it.each([
    ['2027-05-06T08:08:09Z', 'crl_expired'],
    ['2020-01-01T00:00:00Z', 'certificate_not_yet_valid'],
  ])('at %s it is %s', async (text, code) => {
    const ran = await veritee(['verify', quote, '--collateral', collateral, '--root', root, '--policy', policy, '--at', text, '--json'])
    expect([ran.code, json(ran)]).toMatchObject([1, { error: { code } }])
  })
})

describe('malformed input', () => {
  const malformed: readonly (readonly [string, () => [string, string], string])[] = [
    ['an empty quote', () => [files.write('m', ''), collateral], 'quote_malformed'],
    ['a quote cut short', () => [files.write('m', quoteBytes.subarray(0, 700)), collateral], 'quote_malformed'],
    ['text for a quote', () => [policy, collateral], 'quote_unsupported'],
    ['collateral without members', () => [quote, files.write('m', '{}')], 'collateral_missing'],
    ['collateral that is no JSON', () => [quote, files.write('m', '{')], 'malformed_json'],
    ['collateral that is no text', () => [quote, files.write('m', Uint8Array.of(0xff, 0xfe))], 'malformed_encoding'],
    [
      'collateral with a bad list',
      () => [quote, files.write('m', readFileSync(collateral, 'utf8').replace(/"root_ca_crl":"../, '"root_ca_crl":"ff'))],
      'crl_malformed',
    ],
  ]
  it.each(malformed)('%s is 1 with a code, as text and as JSON', async (_, paths, code) => {
    const [q, c] = paths()
    const ran = await veritee(['verify', q, '--collateral', c, '--root', root, ...time, '--json'])
    const verdict = json(ran)
    expect([ran.code, Object.keys(verdict).sort()]).toEqual([1, shape])
    expect(verdict).toMatchObject({ verdict: 'rejected', error: { code } })
    expect(ran.stderr).not.toMatch(/\n\s+at |unexpected failure/)
  })
  it('as text it ends in one line that says why', async () => {
    const ran = await veritee(['verify', policy, '--collateral', collateral, ...time])
    expect([ran.code, ran.stdout]).toEqual([1, expect.stringMatching(/^REJECTED: quote_unsupported: /m)])
  })
  it.each<[string, () => string[], number, string]>([
    ['usage', () => ['verify', '--json'], 2, 'usage'],
    ['a missing file', () => ['verify', files.path('none'), '--collateral', collateral, '--json'], 3, 'file_unavailable'],
    ['an invalid policy', () => ['verify', quote, '--collateral', collateral, '--policy', collateral, '--json'], 2, 'policy_invalid'],
    ['what is no quote', () => ['inspect', collateral, '--json'], 1, 'quote_unsupported'],
  ])('with --json an error about %s is a JSON document of the same shape too', async (_, args, exit, code) => {
    const ran = await veritee(args())
    const verdict = json(ran)
    expect([ran.code, Object.keys(verdict).sort(), ran.stderr.split('\n').length]).toEqual([exit, shape, 2])
    expect(verdict).toMatchObject({ verdict: 'rejected', error: { code } })
  })
})

it('inspect shows what a quote says and that nothing was verified', async () => {
  const [text, document] = [await veritee(['inspect', quote]), await veritee(['inspect', quote, '--json'])]
  expect([text.code, document.code]).toEqual([0, 0])
  expect(text.stdout).toContain(enclave.mrenclave)
  expect(text.stdout).toContain('UNVERIFIED')
  expect(json(document)).toMatchObject({ version: 3, tee: 'sgx', body: { kind: 'sgx', isvSvn: 4, mrenclave: enclave.mrenclave } })
})

it('inspect shows each measurement of a TD in hex', async () => {
  const kinds = ['td10', 'td15']
  for (const [index, path] of tdQuotes.entries()) {
    const { stdout } = await veritee(['inspect', path])
    for (const each of Object.values(rtmrs)) expect(stdout).toContain(each)
    const { body } = json(await veritee(['inspect', path, '--json'])) as { body: Record<string, unknown> }
    expect(body).toMatchObject({ kind: kinds[index], mrTd: 'c3'.repeat(48), ...rtmrs, reportData: '00'.repeat(64) })
    expect(body.mrServiceTd).toBe(index === 0 ? undefined : '00'.repeat(48))
  }
})

describe.skipIf(!haveVectors)(`real quotes${vectorsNote}`, () => {
  const base = new URL('../../../../../shared/vectors/', import.meta.url)
  const run = (pair: (typeof pairs)[number], ...more: string[]): ReturnType<typeof veritee> => {
    const file = (name: string): string => fileURLToPath(new URL(`${pair.vector}/${name}`, base))
    return veritee(['verify', file('quote.bin'), '--collateral', file(pair.collateral), '--at', String(pair.at), '--json', ...more])
  }
  const isDebug = ({ vector }: (typeof pairs)[number]): boolean => {
    const quoteFile = readFileSync(new URL(`${vector}/quote.bin`, base))
    return vector.startsWith('sgx/') && quoteFile.readUInt16LE(0) === 3 && ((quoteFile[48 + 48] ?? 0) & 2) !== 0
  }
  const acceptable = (status: string): boolean => !['Revoked', 'NotSupported', 'Unrecognized'].includes(status)

  it('S14: without a policy a production enclave is genuine, and its code not judged', async () => {
    const pair = pairs.find((candidate) => candidate.genuine && candidate.tcbStatus === 'UpToDate' && !isDebug(candidate))
    if (pair === undefined) throw new Error('no such vector')
    const ran = await run(pair)
    const verdict = json(ran)
    expect([ran.code, Object.keys(verdict).sort()]).toEqual([0, shape])
    expect(verdict).toMatchObject({ verdict: 'accepted', scope: 'genuineness', simulated: false, tcb: { status: 'UpToDate' }, error: null })
    expect((verdict.warnings as string[]).join('\n')).toContain('not judged')
  })
  it('S14: a debug enclave is 0 without a policy, with a warning', async () => {
    const pair = pairs.find((candidate) => candidate.genuine && acceptable(candidate.tcbStatus) && isDebug(candidate))
    if (pair === undefined) throw new Error('no such vector')
    const ran = await run(pair)
    expect(ran.code).toBe(0)
    expect((json(ran).warnings as string[]).join('\n')).toContain('DEBUG')
  })
  it('S14: a status below UpToDate is a warning, and evidence that is not genuine is 1 with a code', async () => {
    const outdated = pairs.find(({ genuine, tcbStatus }) => genuine && tcbStatus === 'OutOfDate')
    const fake = pairs.find(({ genuine }) => !genuine)
    if (outdated === undefined || fake === undefined) throw new Error('no such vectors')
    const [warned, refused] = [await run(outdated), await run(fake)]
    expect([warned.code, refused.code]).toEqual([0, 1])
    expect((json(warned).warnings as string[]).join('\n')).toContain('OutOfDate')
    expect(json(refused)).toMatchObject({ verdict: 'rejected', error: { code: expect.stringMatching(/^[a-z_]+$/) } })
  })
})
