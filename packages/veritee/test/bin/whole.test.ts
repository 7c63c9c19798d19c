import { rmSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { servedReleasesText } from '../../src/release/index.ts'
import { tlsIdentity } from '../client/servers.ts'
import { createEnclave, demoModel, machine, measured, sha } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { createMakers, enclaveOf } from '../release/makers.ts'
import { expectRefusal, folder, fresh, json, type Ran, veritee } from './cli.ts'
import { type Fleet, fleet } from './fleet.ts'

const files = folder()
let policy: string
let root: string
beforeAll(async () => {
  policy = files.write('policy.json', JSON.stringify(policyOf()))
  root = files.write('root.pem', certificatePem((await machine()).root))
})
const verify = (target: Pick<Fleet, 'url'>, ...more: string[]): Promise<Ran> =>
  veritee(['verify', target.url, '--policy', policy, '--root', root, ...more])
const codeOf = (ran: Ran): unknown => [ran.code, (json(ran).error as { code: string } | null)?.code ?? null]

const expectRefusalOf = (ran: Ran, code: string): void => expect(codeOf(ran)).toEqual([1, code])

describe('verify URL', () => {
  it('S14: without a policy it is 2, and nothing is asked', async () => {
    const target = await fleet()
    expectRefusal(await veritee(['verify', target.url]), 2, 'usage')
    expect(target.requests).toEqual([])
  })

  it('accepts a service, every worker and every model, as a tree that says SIMULATED', async () => {
    const ran = await verify(await fleet([{}, {}]))
    expect([ran.code, ran.stderr]).toEqual([0, ''])
    expect(ran.stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n├─ ✓ controller: verified for a nonce drawn now\n/)
    expect(ran.stdout).toContain('✓ workers: 2 verified here')
    expect(ran.stdout.match(/✓ worker-\d: answered a nonce drawn now/g)).toHaveLength(2)
    expect(ran.stdout).toContain('✓ demo-model: served by a worker verified here')
    // What is waived is shown without being asked for; what passed is a number.
    expect(ran.stdout).toMatch(/– policy\.physical/)
    expect(ran.stdout).not.toMatch(/✓ policy\.identity/)
    expect(ran.stdout).toMatch(/\nACCEPTED, SIMULATED: this proves nothing about hardware\n$/)
  })

  it('--all shows every check; --json is one document', async () => {
    const target = await fleet()
    expect((await verify(target, '--all')).stdout).toMatch(/✓ policy\.identity/)
    const document = json(await verify(target, '--json'))
    expect(document).toMatchObject({
      verdict: 'accepted',
      simulated: true,
      error: null,
      service: { role: 'controller', keysetDigest: target.controller.digest },
      workers: [{ keysetDigest: target.workers[0]?.digest, freshness: 'challenged', verdict: { verdict: 'accepted' } }],
      models: [{ name: 'demo-model', standing: 'verified' }],
    })
  })

  it('challenges each worker with a nonce of its own, and reads no more than it must', async () => {
    const target = await fleet()
    await verify(target)
    expect(target.requests.filter((line) => line.endsWith('/attestation'))).toHaveLength(2)
    expect(target.requests.every((line) => line.startsWith('GET '))).toBe(true)
  })

  it('a worker that cannot be asked now stands by its session, and that is said', async () => {
    const target = await fleet()
    target.relay = 429
    const ran = await verify(target)
    expect(ran.code).toBe(0)
    expect(ran.stdout).toContain('evidence of its session; not asked now: service_refused')
    expect(json(await verify(target, '--json')).workers).toMatchObject([{ freshness: 'stored' }])
  })

  it('workers beyond the bound are told of', async () => {
    const ran = await verify(await fleet([{}, {}, {}]), '--max-workers', '2')
    expect([ran.code, ran.stdout.includes('warning: 1 more workers were not verified')]).toEqual([0, true])
  })

  it('over TLS to the attested key', async () => {
    const target = await fleet([{}], await tlsIdentity())
    const own = files.write('attested.json', JSON.stringify(policyOf({}, { channel: 'attested' })))
    expect((await veritee(['verify', target.url, '--policy', own, '--root', root])).code).toBe(0)
    target.controller = await createEnclave('controller')
    expectRefusalOf(await veritee(['verify', target.url, '--policy', own, '--root', root, '--json']), 'channel_mismatch')
  })

  it('S8: each replica is verified as a service of its own; one that is gone or another is told, and rejects nothing', async () => {
    const [target, replica, foreign] = await Promise.all([0, 1, 2].map(async () => fleet([{}], await tlsIdentity())))
    if (target === undefined || replica === undefined || foreign === undefined) throw new RangeError('three services')
    foreign.controller = await createEnclave('controller', { measured: measured('another program'), spki: foreign.controller.spki })
    const gone = 'https://127.0.0.1:1'
    target.replicas = [target.url, replica.url, foreign.url, gone, 'http://no.example', 'not a URL']
    const own = files.write('attested.json', JSON.stringify(policyOf({}, { channel: 'attested' })))
    const verified = (...more: string[]) =>
      veritee(['verify', target.url, '--policy', own, '--root', root, ...more], { VERITEE_API_KEY: 'sk-secret' })
    const ran = await verified()
    expect([ran.code, ran.stdout]).toEqual([0, expect.stringContaining(`✓ ${replica.url}: verified for a nonce drawn now`)])
    expect(ran.stdout).toContain('✗ replicas: 3 of 3 verified here, without the workers behind them')
    expect(ran.stdout).toContain(`✗ ${foreign.url}: policy_`)
    expect(ran.stdout).toMatch(/warning: the replica https:\/\/127\.0\.0\.1:1 is not accepted: service_unavailable/)
    const document = json(await verified('--json')) as { replicas: string[]; judgedReplicas: { url: string; keysetDigest: string | null }[] }
    expect(new Set(document.replicas)).toEqual(new Set([replica.url, foreign.url, gone]))
    expect(document.judgedReplicas.find(({ url }) => url === replica.url)).toMatchObject({
      keysetDigest: replica.controller.digest,
      verdict: { verdict: 'accepted' },
    })
    // Nothing but its evidence was asked of a replica, and the API key went to none.
    expect(new Set(replica.requests)).toEqual(new Set(['GET /v1/aci/attestation']))
    expect([target.keys, replica.keys]).toEqual([new Set(['Bearer sk-secret']), new Set()])
  })

  it('replicas beyond a bound are named and not asked', async () => {
    const target = await fleet([{}], await tlsIdentity())
    target.replicas = Array.from({ length: 18 }, (_, i) => `https://127.0.0.1:${i + 1}`)
    const own = files.write('attested.json', JSON.stringify(policyOf({}, { channel: 'attested' })))
    const { stdout } = await veritee(['verify', target.url, '--policy', own, '--root', root])
    expect(stdout).toMatch(/warning: replicas beyond 16 were not verified, verify each: https:\/\/127\.0\.0\.1:\d+, https:\/\/127\.0\.0\.1:\d+\n/)
  })

  it('a direct worker has no workers behind it', async () => {
    const target = await fleet()
    target.controller = await createEnclave('worker')
    const own = files.write('direct.json', JSON.stringify(policyOf({ channel: 'loopback' })))
    const ran = await veritee(['verify', target.url, '--policy', own, '--root', root, '--role', 'worker'])
    expect([ran.code, ran.stdout.includes('workers:'), ran.stdout.includes('✓ demo-model')]).toEqual([0, false, true])
  })

  it('names in evidence that hold control characters reach no terminal', async () => {
    const target = await fleet()
    target.models = ['demo-model', 'x\u001b[2J:unverified']
    const ran = await verify(target)
    expect([ran.stdout.includes('\u001b'), ran.stdout.includes('x[2J:unverified')]).toEqual([false, true])
  })
})

const otherWeights = { ...demoModel, files: [{ name: 'x', sha256: sha('x'), size: 1 }] }

describe('verify URL rejects', () => {
  const cases: readonly (readonly [string, (target: Fleet) => object | Promise<object>, number, string])[] = [
    ['another worker behind the relay', async () => ({ relay: await createEnclave('worker') }), 1, 'session_mismatch'],
    ['a worker of other code', async () => ({ workers: [await createEnclave('worker', { measured: measured('other') })] }), 1, 'policy_identity'],
    [
      'a worker of other weights',
      async () => ({ workers: [await createEnclave('worker', { descriptor: { models: [otherWeights] } })] }),
      1,
      'policy_models',
    ],
    ['an edited session', () => ({ session: (text: string) => text.replace('worker-0', 'worker-9') }), 1, 'session_mismatch'],
    [
      'a controller of other code',
      async () => ({ controller: await createEnclave('controller', { measured: measured('other') }) }),
      1,
      'policy_identity',
    ],
    [
      'a worker in the place of the controller',
      async () => ({ controller: await createEnclave('worker', { measured: measured('controller') }) }),
      1,
      'policy_role',
    ],
    ['a model that nobody has', () => ({ models: ['demo-model', 'ghost'] }), 1, 'policy_models'],
    ['a controller without workers', () => ({ workers: [] }), 3, 'service_unavailable'],
  ]
  it.each(cases)('%s', async (_, change, exit, code) => {
    const target = await fleet()
    Object.assign(target, await change(target))
    const ran = await verify(target, '--json')
    expect(codeOf(ran)).toEqual([exit, code])
    expect((await verify(target)).stdout).toMatch(new RegExp(`^REJECTED: ${code}: `, 'm'))
  })

  it('S15: everything simulated under the real root alone', async () => {
    const target = await fleet()
    expect(codeOf(await veritee(['verify', target.url, '--policy', policy, '--json']))).toEqual([1, 'chain_untrusted'])
    // A worker behind a controller that is not accepted is not looked at.
    expect(target.requests).toEqual(['GET /v1/aci/attestation'])
  })

  it('a model without verification is a warning, for it says so in its name', async () => {
    const target = await fleet()
    target.models.push('other:unverified')
    const ran = await verify(target)
    expect([ran.code, ran.stdout.includes('warning: behind other:unverified nothing is verified')]).toEqual([0, true])
  })

  it.each([
    ['a policy without a section for workers', (own: string) => ['--policy', own]],
    ['collateral of a quote', () => ['--policy', policy, '--collateral', policy]],
    ['a time', () => ['--policy', policy, '--at', '1']],
    ['a bound that is none', () => ['--policy', policy, '--max-workers', '0']],
  ])('%s is 2', async (_, args) => {
    const { worker: _w, ...roles } = policyOf().roles
    const own = files.write('controller-only.json', JSON.stringify({ ...policyOf(), roles }))
    expect((await veritee(['verify', (await fleet()).url, '--root', root, ...args(own)])).code).toBe(2)
  })

  it('a service that is not there is 3', async () => {
    const target = await fleet()
    await target.close()
    expectRefusal(await verify(target), 3, 'service_unavailable')
  })
})

describe('S25: verify URL by the release statements that the service shows', () => {
  it('needs no file; what is remembered of them refuses an older one the next time, for workers as for the service', async () => {
    const makers = await createMakers(Math.floor(Date.now() / 1000) - 60)
    const demand = { identity: 'released', release: makers.demand } as const
    const demanding = files.write('by-release.json', JSON.stringify(policyOf(demand, demand)))
    const of = (role: 'controller' | 'worker') =>
      enclaveOf({ role, mrenclave: measured(role).mrenclave, cpu_variant: role === 'worker' ? 'x86-64-v3' : null, isv_prod_id: 1, isv_svn: 1 })
    const enclaves = [of('controller'), of('worker')]
    const target = await fleet()
    const show = async (changes: object): Promise<void> => {
      target.releases = await servedReleasesText([{ statement: await makers.statement({ enclaves, ...changes }), proof: null }])
    }
    const environment = { XDG_STATE_HOME: files.path('state') }
    const judged = async (): Promise<unknown> =>
      codeOf(await fresh(['verify', target.url, '--policy', demanding, '--root', root, '--json'], environment))
    expect(await judged()).toEqual([1, 'policy_release'])
    await show({ sequence: 8 })
    expect(await judged()).toEqual([0, null])
    await show({ sequence: 7 })
    expect(await judged()).toEqual([1, 'release_rolled_back'])
    await show({ sequence: 9, enclaves: [of('controller')] })
    expect(await judged()).toEqual([1, 'release_measurement_unknown'])
    // Forgotten, it is the first use again.
    await show({ sequence: 7 })
    rmSync(files.path('state'), { recursive: true })
    expect(await judged()).toEqual([0, null])
  })
})
