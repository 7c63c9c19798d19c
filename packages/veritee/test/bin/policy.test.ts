import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatCollateral, parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { createSimPlatform, type SimPlatform } from '../../src/attestation/sim/index.ts'
import { evaluate, explainPolicy, type Identity, initPolicy, type Policy, parsePolicy, roles, unreviewed } from '../../src/policy/index.ts'
import { policyFor } from '../bundle/service.ts'
import { enclave } from '../collateral/evidence.ts'
import { createEnclave, machine, measured } from '../receipt/enclaves.ts'
import { veritee } from './cli.ts'
import { fleet } from './fleet.ts'

const now = new Date()
let directory: string
let platform: SimPlatform
let server: http.Server
let url: string
let damage: (report: string) => string = (report) => report
const path = (name: string): string => join(directory, name)

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-policy-'))
  platform = await createSimPlatform({ at: now })
  await writeFile(path('sgx.bin'), await platform.quote(enclave, new Uint8Array(64)))
  await writeFile(path('tdx.bin'), await platform.tdQuote({ mrtd: 'c3'.repeat(48) }, new Uint8Array(64)))
  await writeFile(path('td10.bin'), await platform.tdQuote({ mrtd: 'c3'.repeat(48) }, new Uint8Array(64), { version: 4 }))
  await writeFile(path('bare.bin'), await platform.quote(enclave, new Uint8Array(64), { certification: 3 }))
  await writeFile(path('collateral.json'), formatCollateral(platform.collateral))
  await writeFile(path('root.pem'), certificatePem(platform.root))
  await writeFile(path('policy.json'), JSON.stringify(policyFor()))
  const service = await createEnclave('worker', { platform, keyset: { not_after: Math.floor(now.getTime() / 1000) + 3600 } })
  server = http.createServer((incoming, response) => {
    const nonce = new URL(incoming.url ?? '', 'http://127.0.0.1').searchParams.get('nonce')
    void service.report(nonce).then((report) => response.end(damage(report)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await rm(directory, { recursive: true, force: true })
})

/** The document with every mark removed, as a person would leave it who agrees with all of it. */
const reviewed = (text: string): string => text.replaceAll(unreviewed, '')
const codeOf = (text: string): string => {
  try {
    parsePolicy(text)
    return 'valid'
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('policy init from a quote', () => {
  test('S14: is complete, strict JSON, and refused until its marks are removed', async () => {
    const { code, stdout, stderr } = await veritee(['policy', 'init', '--from', path('sgx.bin')])
    expect(code).toBe(0)
    expect(stderr).toContain('NOT VERIFIED')
    expect(codeOf(stdout)).toBe('policy_invalid')
    const section = (JSON.parse(stdout) as Policy).roles.worker
    expect(section?.identity).toEqual([{ mrenclave: `${unreviewed}${enclave.mrenclave}` }])
    expect(section).toMatchObject({ simulated: 'refuse', debug: 'refuse', physical: 'trusted-site', channel: 'attested' })
    expect(section?.tcb).toMatchObject({ statuses: ['UpToDate'], advisories: [], gracePeriod: 0 })
    expect(section?.platform).toMatchObject({ dynamicPlatform: 'refuse', cachedKeys: 'refuse', smt: 'refuse' })
    for (const field of ['identity', 'physical', 'attributes', 'tcb.minTcbEvaluationDataNumber', 'models', 'release', 'log'])
      expect(stderr).toContain(`${field}: `)
  })

  test('S14: each mark alone makes it invalid', async () => {
    const { stdout } = await veritee(['policy', 'init', '--from', path('sgx.bin')])
    // What was not in the evidence is a placeholder, to be written by hand.
    const complete = stdout.replace(/"UNREVIEWED:sha256:hex of[^"]*"/g, `"${unreviewed}sha256:${'ab'.repeat(32)}"`)
    expect(codeOf(reviewed(complete))).toBe('valid')
    const marks = complete.split(unreviewed).length - 1
    expect(marks).toBeGreaterThanOrEqual(4)
    const parts = complete.split(unreviewed)
    for (let keep = 0; keep < marks; keep++) {
      const one = parts.map((part, i) => (i === 0 ? part : (i === keep + 1 ? unreviewed : '') + part)).join('')
      // A model's name and a CPU variant are free text, so that a mark in them is text too; whoever reviews the digest beside it sees it.
      const free = /^(?:name of the model|its CPU variant)/.test(parts[keep + 1] ?? '')
      expect(codeOf(one), one.slice(one.indexOf(unreviewed), one.indexOf(unreviewed) + 60)).toBe(free ? 'valid' : 'policy_invalid')
    }
  })

  test('with collateral it is verified, and the evaluation number demanded', async () => {
    const args = ['policy', 'init', '--from', path('sgx.bin'), '--collateral', path('collateral.json')]
    const { code, stdout, stderr } = await veritee([...args, '--root', path('root.pem'), '--role', 'broker', '-o', path('written.json')])
    expect([code, stdout]).toEqual([0, ''])
    expect(stderr).toContain('NOT GENUINE: policy_simulated')
    const written = JSON.parse(await readFile(path('written.json'), 'utf8')) as Policy
    expect(Object.keys(written.roles)).toEqual(['broker'])
    expect(written.roles.broker?.tcb.minTcbEvaluationDataNumber).toBe(20)
    expect(written.roles.broker?.models).toBe('any')
    const rootless = await veritee(args)
    expect([rootless.code, rootless.stdout]).toEqual([1, ''])
    expect(rootless.stderr).toContain('chain_untrusted')
  })

  test.for(['tdx.bin', 'td10.bin', 'bare.bin'])('%s', async (name) => {
    const { code, stdout } = await veritee(['policy', 'init', '--from', path(name), '--role', 'controller'])
    expect(code).toBe(0)
    expect(codeOf(stdout)).toBe('policy_invalid')
    const complete = reviewed(stdout).replace('the 32 hex digits of a machine', '00'.repeat(16))
    expect(codeOf(complete)).toBe('valid')
    const section = parsePolicy(complete).roles.controller
    if (name === 'bare.bin') return
    expect(section?.identity).toEqual([expect.objectContaining({ mrtd: 'c3'.repeat(48), rtmr3: '00'.repeat(48) })])
    expect(section?.tdx).toMatchObject({ septVeDisable: 'require', mrServiceTd: name === 'tdx.bin' ? ['00'.repeat(48)] : 'any' })
  })

  test.for([
    ['no --from', []],
    ['an unknown role', ['--from', 'sgx.bin', '--role', 'client']],
    ['collateral for a service', ['--from', 'http://127.0.0.1:1', '--collateral', 'collateral.json']],
    ['a positional argument', ['sgx.bin']],
  ] as const)('%s: exit 2', async ([, args]) => {
    expect((await veritee(['policy', 'init', ...args.map((arg) => (/\.(?:bin|json)$/.test(arg) ? path(arg) : arg))])).code).toBe(2)
  })

  test('what is no quote: exit 1; no file: exit 3', async () => {
    expect((await veritee(['policy', 'init', '--from', path('policy.json')])).code).toBe(1)
    expect((await veritee(['policy', 'init', '--from', path('absent')])).code).toBe(3)
  })
})

describe('policy init from a service', () => {
  test('S14: fetches the report, tells whether it is genuine, and trusts nothing in it', async () => {
    const { code, stdout, stderr } = await veritee(['policy', 'init', '--from', url, '--root', path('root.pem')])
    expect(code).toBe(0)
    expect(stderr).toContain('binds a worker')
    expect(stderr).toContain('NOT GENUINE: policy_simulated')
    expect(codeOf(stdout)).toBe('policy_invalid')
    const section = (JSON.parse(stdout) as Policy).roles.worker
    expect(JSON.stringify(section?.models)).toMatch(/^\{"demo-model":\["UNREVIEWED:sha256:[0-9a-f]{64}"\]\}$/)
    expect(section?.tcb.minTcbEvaluationDataNumber).toBe(20)
    expect(codeOf(reviewed(stdout))).toBe('valid')
  })

  test('a report that does not verify: exit 1, nothing written', async () => {
    expect(await veritee(['policy', 'init', '--from', url])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('chain_untrusted'),
    })
    damage = (report) => report.replace(/"nonce":"[0-9a-f]{64}"/, `"nonce":"${'ab'.repeat(32)}"`).replace('"report_data":"', '"report_data":"00')
    expect(await veritee(['policy', 'init', '--from', url, '--root', path('root.pem')])).toMatchObject({ code: 1, stdout: '' })
    damage = (report) => report
  })

  test('a service that is not there: exit 3', async () => {
    expect((await veritee(['policy', 'init', '--from', 'http://127.0.0.1:1'])).code).toBe(3)
  })
})

describe('an initial policy, once reviewed', () => {
  test('accepts the evidence it came from where that is as good as it demands, and nothing weaker', async () => {
    const when = new Date(now.getTime() + 60_000)
    const quote = parseQuote(new Uint8Array(await readFile(path('sgx.bin'))))
    const { claims } = await verifyQuote(quote, platform.collateral, { roots: [platform.root] }, when)
    const { text } = initPolicy({ body: claims.body, platform: claims.platform, evaluationDataNumber: 20, service: null }, 'broker')
    const section = parsePolicy(reviewed(text)).roles.broker
    if (section === undefined) throw new Error('no section')
    const failing = evaluate(claims, section, when).checks.filter(({ status }) => status === 'fail')
    expect(failing.map(({ id }) => id)).toEqual(['policy.simulated', 'policy.dynamic-platform', 'policy.cached-keys'])
    const debug = { ...claims, debug: true } as typeof claims
    expect(evaluate(debug, section, when).checks.some(({ id, status }) => id === 'policy.debug' && status === 'fail')).toBe(true)
  })
})

describe('policy check', () => {
  test('a valid policy: exit 0', async () => {
    expect(await veritee(['policy', 'check', path('policy.json')])).toMatchObject({
      code: 0,
      stdout: 'valid, with a section for controller and worker\n',
    })
    const { stdout } = await veritee(['policy', 'check', path('policy.json'), '--json'])
    expect(JSON.parse(stdout)).toEqual({ valid: true, roles: ['controller', 'worker'] })
  })

  test.for([
    ['an unreviewed value', 'policy_invalid', (policy: string) => policy.replace('"mrenclave":"', '"mrenclave":"UNREVIEWED:')],
    ['a field less', 'policy_invalid', (policy: string) => policy.replace('"debug":"refuse",', '')],
    ['a field more', 'policy_invalid', (policy: string) => policy.replace('"debug"', '"//":"comment","debug"')],
    ['no JSON', 'policy_invalid', () => '{'],
    [
      'S25: makers of releases whose log has no key',
      'log_key_malformed',
      (policy: string) =>
        policy.replace(
          '"release":"any"',
          `"release":{"product":"p","keys":["${'44'.repeat(32)}"],"threshold":1,"maxReleaseAge":1,"log":{"origin":"o","key":"k","witnesses":["w"],"quorum":1}}`,
        ),
    ],
    [
      'S21: a log whose key is none',
      'log_key_malformed',
      (policy: string) => policy.replace('"log":"any"', '"log":{"origin":"o","key":"k","witnesses":["w"],"quorum":1}'),
    ],
  ] as const)('%s: exit 2, and the reason %s', async ([, code, edit]) => {
    await writeFile(path('edited.json'), edit(JSON.stringify(policyFor())))
    expect(await veritee(['policy', 'check', path('edited.json')])).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(code) })
  })
})

describe('policy explain', () => {
  test('says in English what is demanded and what is waived', async () => {
    const { code, stdout } = await veritee(['policy', 'explain', path('policy.json')])
    expect(code).toBe(0)
    expect(stdout).toContain('A controller is accepted only if')
    expect(stdout).toContain('A worker is accepted only if')
    expect(stdout).toContain('SIMULATED hardware is accepted, which proves nothing')
    expect(stdout).toContain('collateral is at most 1 day old')
    const json = JSON.parse((await veritee(['policy', 'explain', path('policy.json'), '--json'])).stdout) as { roles: { role: string }[] }
    expect(json.roles.map(({ role }) => role)).toEqual(['controller', 'worker'])
  })

  test('every field that is waived is named, and none is lost', () => {
    const strict = parsePolicy(
      reviewed(
        initPolicy(
          { body: bodyOfTd, platform: { fmspc: '00'.repeat(6), ppid: '00'.repeat(16) }, evaluationDataNumber: 20, service: null },
          'validator',
        ).text,
      ),
    )
    const section = strict.roles.validator
    if (section === undefined) throw new Error('no section')
    const explain = (changes: object): { demanded: readonly string[]; waived: readonly string[] } => {
      const [found] = explainPolicy({ version: 'veritee.policy.v1', roles: { validator: { ...section, ...changes } } })
      if (found === undefined) throw new Error('nothing explained')
      return found
    }
    const before = explain({})
    const relaxations: readonly object[] = [
      { tee: 'any' },
      { simulated: 'allow' },
      { physical: 'any' },
      { debug: 'any' },
      { tdx: 'any' },
      { tcb: { ...section.tcb, statuses: ['UpToDate', 'OutOfDate'] } },
      { tcb: { ...section.tcb, advisories: 'any' } },
      { tcb: { ...section.tcb, minTcbEvaluationDataNumber: 'any' } },
      { tcb: { ...section.tcb, gracePeriod: 60 } },
      { platform: { ...section.platform, ppid: { allow: 'any', deny: [] } } },
      { platform: { ...section.platform, dynamicPlatform: 'any' } },
      { platform: { ...section.platform, cachedKeys: 'any' } },
      { platform: { ...section.platform, smt: 'any' } },
      { maxCollateralAge: 'any' },
      { maxAttestationAge: 'any' },
      { channel: 'loopback' },
      ...(['attributes', 'xfam', 'septVeDisable', 'mrServiceTd'] as const).map((name) => ({ tdx: { ...(section.tdx as object), [name]: 'any' } })),
      { identity: [{ ...(section.identity[0] as Identity), rtmr2: 'any' }] },
    ]
    for (const changes of relaxations) expect(explain(changes).waived.length, JSON.stringify(changes)).toBeGreaterThan(before.waived.length)
    const tightened: readonly object[] = [
      { models: { m: ['sha256:00'] } },
      { engine: [{ build: 'sha256:00', cpuVariant: 'any' }] },
      { operator: ['00'] },
      { release: { product: 'p', keys: ['00'], threshold: 1, maxReleaseAge: 1, log: 'any' } },
      { log: { origin: 'o', key: 'k', witnesses: ['w'], quorum: 1 } },
      { platform: { ...section.platform, fmspc: { allow: ['00'], deny: ['11'] } } },
    ]
    for (const changes of tightened) expect(explain(changes).demanded.length, JSON.stringify(changes)).toBeGreaterThan(before.demanded.length)
    expect(roles).toContain('validator')
  })

  test('S14: a policy that is not reviewed is not explained either', async () => {
    const { stdout } = await veritee(['policy', 'init', '--from', path('sgx.bin')])
    await writeFile(path('unreviewed.json'), stdout)
    expect((await veritee(['policy', 'explain', path('unreviewed.json')])).code).toBe(2)
    expect((await veritee(['policy'])).code).toBe(2)
  })
})

const register = '00'.repeat(48)
const bodyOfTd = {
  tee: 'tdx',
  mrtd: register,
  rtmr0: register,
  rtmr1: register,
  rtmr2: register,
  rtmr3: register,
  mrseam: register,
  mrsignerSeam: register,
  seamAttributes: '00'.repeat(8),
  tdAttributes: '0000001000000000',
  xfam: 'e702060000000000',
  mrConfigId: register,
  mrOwner: register,
  mrOwnerConfig: register,
  teeTcbSvn: '00'.repeat(16),
  teeTcbSvn2: '00'.repeat(16),
  mrServiceTd: register,
} as const

describe('policy init from a controller', () => {
  test('S14: a section for it and one for all its workers, every value marked', async () => {
    const other = measured('another build')
    const target = await fleet([{}, { measured: other }])
    await writeFile(path('fleet-root.pem'), certificatePem((await machine()).root))
    const { code, stdout, stderr } = await veritee(['policy', 'init', '--from', target.url, '--root', path('fleet-root.pem')])
    expect(code).toBe(0)
    const { roles: sections, comments } = JSON.parse(stdout) as Policy & { comments: Record<string, string> }
    expect(Object.keys(sections)).toEqual(['controller', 'worker'])
    expect(sections.worker?.identity).toEqual([measured('worker'), other].map(({ mrenclave }) => ({ mrenclave: `${unreviewed}${mrenclave}` })))
    expect(Object.keys(comments)).toEqual(expect.arrayContaining(['controller.identity', 'worker.identity']))
    expect(stderr).toContain('binds a worker')
    expect(codeOf(stdout)).toBe('policy_invalid')
    expect(codeOf(reviewed(stdout))).toBe('valid')
    const one = JSON.parse(
      (await veritee(['policy', 'init', '--from', target.url, '--root', path('fleet-root.pem'), '--role', 'worker'])).stdout,
    ) as Policy
    expect(Object.keys(one.roles)).toEqual(['worker'])
    target.session = () => '{}'
    const partly = await veritee(['policy', 'init', '--from', target.url, '--root', path('fleet-root.pem')])
    expect([partly.code, partly.stderr]).toEqual([0, expect.stringContaining('the section of workers is of 0: session_mismatch')])
  })
})

describe('policy accept', () => {
  const accept = (...args: string[]) => veritee(['policy', 'accept', path('draft.json'), ...args])
  const marksIn = (text: string): string[] => [...new Set([...text.matchAll(/"UNREVIEWED:([^"]*)"/g)].map(([, value]) => value ?? ''))]
  const draft = async (): Promise<string> => {
    const { stdout } = await veritee(['policy', 'init', '--from', url, '--root', path('root.pem')])
    await writeFile(path('draft.json'), stdout)
    return stdout
  }

  test('S14: takes the mark from what equals a value of yours, and from nothing else', async () => {
    const marks = marksIn(await draft())
    const [first = '', ...others] = marks
    const some = await accept('--value', first, '--json')
    expect([some.code, JSON.parse(some.stdout)]).toEqual([1, { accepted: [first], remaining: others }])
    expect(marksIn(await readFile(path('draft.json'), 'utf8'))).toEqual(others)
    expect((await veritee(['policy', 'check', path('draft.json')])).code).toBe(2)
    const all = await accept(...others.flatMap((value) => ['--value', value]), '-o', path('accepted.json'))
    expect([all.code, all.stderr]).toEqual([0, expect.stringContaining('a policy that can be used')])
    expect((await veritee(['policy', 'check', path('accepted.json')])).code).toBe(0)
  })

  test('S14: a value that the draft does not hold is refused, and nothing is written', async () => {
    const before = await draft()
    const [first = ''] = marksIn(before)
    const { code, stderr } = await accept('--value', first, '--value', 'ab'.repeat(32))
    expect([code, stderr]).toEqual([1, expect.stringContaining('policy_identity')])
    expect(await readFile(path('draft.json'), 'utf8')).toBe(before)
  })

  test('S14: a release statement says nothing without the keys of its makers', async () => {
    await draft()
    expect(await accept('--release', path('root.pem'))).toMatchObject({ code: 2, stderr: expect.stringContaining('--threshold') as string })
    expect((await accept()).code).toBe(2)
    await writeFile(path('draft.json'), '{"x":"UNREVIEWED:y"}')
    expect((await accept('--value', 'y')).code).toBe(2)
    await writeFile(path('draft.json'), 'no JSON')
    expect((await accept('--value', 'y')).code).toBe(2)
  })
})
