import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  type Connection,
  type ConnectionOptions,
  checkStillVerified,
  connect,
  defaultReleaseDirectory,
  diskReleases,
  nodeTransport,
  type Service,
} from '../../src/client/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import { releaseKeySet, servedReleasesText, withReleases } from '../../src/release/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { measured, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { createMakers, enclaveOf, type Makers } from '../release/makers.ts'
import { type FakeService, fakeService } from './service.ts'

/** Release statements that a service shows, as a connection takes them; and what is remembered of them between processes. */

const path = '/v1/veritee/releases'
let makers: Makers
let strangers: Makers
let policy: Policy
let fake: FakeService
const directories: string[] = []
beforeAll(async () => {
  const issued = Math.floor(Date.now() / 1000) - 60
  makers = await createMakers(issued)
  strangers = await createMakers(issued)
  const demand = { identity: 'released', release: makers.demand } as const
  policy = policyOf(demand, demand)
})
beforeEach(async () => {
  fake = await fakeService()
})
afterAll(() => Promise.all(directories.map((directory) => rm(directory, { recursive: true, force: true }))))

const both = ['controller', 'worker'].map((role) =>
  enclaveOf({
    role: role as 'controller' | 'worker',
    mrenclave: measured(role as 'controller' | 'worker').mrenclave,
    cpu_variant: role === 'worker' ? 'x86-64-v3' : null,
    isv_prod_id: 1,
    isv_svn: 1,
  }),
)
type Changes = NonNullable<Parameters<Makers['statement']>[0]>
const statement = (changes: Changes = {}, signers = 2, by = makers): Promise<string> => by.statement({ enclaves: both, ...changes }, signers)
async function show(...statements: string[]): Promise<void> {
  fake.behaviour.answers[path] = { status: 200, body: await servedReleasesText(statements.map((one) => ({ statement: one, proof: null }))) }
}
async function open(changes: Partial<ConnectionOptions> = {}): Promise<Connection> {
  return connect(fake.url, { policy, trust: await trust(), ...changes })
}
async function ask(c: Connection): Promise<string> {
  const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: '{"model":"demo-model","messages":[]}' })
  await response.text()
  return (await c.proofOf(response)).status
}
async function directory(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'veritee-releases-'))
  directories.push(made)
  return made
}
const asked = (): number => fake.requests.filter((line) => line === `GET ${path}`).length

describe('S25: statements that the service shows', () => {
  it('judge the service and the worker behind it, without a file', async () => {
    await show(await statement())
    const c = await open()
    expect(await ask(c)).toBe('verified')
    expect([asked(), c.service.verdict.checks.find(({ id }) => id === 'policy.release')?.status]).toEqual([1, 'pass'])
  })

  it('are asked for again with each verification, so that a newer one arrives', async () => {
    await show(await statement())
    const c = await open()
    await show(await statement({ sequence: 8, withdrawn: ['0.1.0'] }))
    expect(await refusal(() => c.verify())).toBe('release_withdrawn')
    expect(asked()).toBe(2)
  })

  it('that have become too old since end the service, as its keys would', async () => {
    const issued = Math.floor(Date.now() / 1000) - 604_000
    await show(await statement({ issued }))
    const { service } = await open()
    const at = (seconds: number): Service => ({ ...service, options: { ...service.options, now: () => new Date((issued + seconds) * 1000 + 999) } })
    expect(() => checkStillVerified(at(604_800), null)).not.toThrow()
    expect(await refusal(async () => checkStillVerified(at(604_801), null))).toBe('release_expired')
  })

  it('are not asked for where one was given by hand, or none is demanded', async () => {
    await show('{}').catch(() => undefined)
    const given = await withReleases(policy, [{ statement: await statement(), proof: null }])
    expect(await ask(await open({ policy: given }))).toBe('verified')
    expect(await ask(await open({ policy: policyOf() }))).toBe('verified')
    expect(asked()).toBe(0)
  })

  it('a service that shows none, or has no such route, is of no release', async () => {
    expect(await refusal(() => open())).toBe('policy_release')
    await show()
    expect(await refusal(() => open())).toBe('policy_release')
    fake.behaviour.answers[path] = { status: 500, body: '{"error":{"message":"broken"}}' }
    expect(await refusal(() => open())).toBe('service_refused')
  })

  const hostile: readonly (readonly [string, string, () => Promise<string>])[] = [
    ['too few signatures', 'release_signatures_missing', () => statement({}, 1)],
    ['makers that the policy does not name', 'release_signatures_missing', () => statement({}, 2, strangers)],
    ['a changed one', 'release_signature_invalid', async () => (await statement()).replace('0.1.0', '0.1.1')],
    ['an old one', 'release_expired', () => statement({ issued: Math.floor(Date.now() / 1000) - 700_000 })],
    ['one of the future', 'release_expired', () => statement({ issued: Math.floor(Date.now() / 1000) + 3600 })],
    ['another product', 'policy_release', () => statement({ product: 'other' })],
    ['the measurement under another role', 'release_measurement_unknown', () => statement({ enclaves: both.slice(1) })],
    ['a withdrawn release', 'release_withdrawn', () => statement({ withdrawn: ['0.1.0'] })],
  ]
  it.each(hostile)('%s: %s, and nothing is sent', async (_, code, make) => {
    await show(await make())
    expect(await refusal(() => open())).toBe(code)
    // Also where a good one is beside it, but for what is then passed over or judged by the good one.
    if (code.startsWith('release_signature')) {
      await show(await make(), await statement({ sequence: 8 }))
      expect(await refusal(() => open())).toBe(code)
    }
    expect(fake.requests.every((line) => line.startsWith('GET'))).toBe(true)
  })

  it.each([
    ['no list', '[]', 'release_statement_malformed'],
    ['more than is read', 'x'.repeat((1 << 20) + 1), 'response_too_large'],
    [
      'a list of what is no statement',
      '{"version":"veritee.releases.v1","statements":[{"proof":null,"statement":{}}]}',
      'release_statement_malformed',
    ],
  ])('%s: refused', async (_, body, code) => {
    fake.behaviour.answers[path] = { status: 200, body }
    expect(await refusal(() => open())).toBe(code)
  })
})

describe('S25: the newest statement that was seen', () => {
  it('bars an older one in later processes, and only there: a connection holds what it was shown', async () => {
    const cache = await directory()
    await show(await statement({ sequence: 9 }))
    const c = await open({ cache })
    await show(await statement({ sequence: 8 }))
    expect(await refusal(() => c.verify())).toBe('accepted')
    // From its report, which was kept, no less than from the service.
    expect(await refusal(() => open({ cache }))).toBe('release_rolled_back')
    expect(await refusal(() => open({ releases: diskReleases(cache) }))).toBe('release_rolled_back')
    // Without a memory it is the first one.
    expect(await refusal(() => open())).toBe('accepted')
    await show(await statement({ sequence: 10 }))
    expect(await refusal(() => open({ cache }))).toBe('accepted')
    // What is given by hand counts too.
    const given = await withReleases(policy, [{ statement: await statement({ sequence: 9 }), proof: null }])
    expect(await refusal(() => open({ policy: given, cache }))).toBe('release_rolled_back')
  })

  it('is remembered although evidence was refused by it', async () => {
    const cache = await directory()
    await show(await statement({ sequence: 9, withdrawn: ['0.1.0'] }))
    expect(await refusal(() => open({ cache }))).toBe('release_withdrawn')
    await show(await statement())
    expect(await refusal(() => open({ cache }))).toBe('release_rolled_back')
  })

  it('lies in a small file for its owner, which never goes back; one that is damaged is not one that is not there', async () => {
    const cache = await directory()
    const memory = diskReleases(join(cache, 'new'))
    const keySet = await releaseKeySet(makers.demand)
    const digest = `sha256:${'ab'.repeat(32)}`
    expect(await memory.get(keySet)).toBeNull()
    for (const sequence of [8, 9, 7]) await memory.put(keySet, { sequence, digest })
    expect(await memory.get(keySet)).toEqual({ sequence: 9, digest })
    const [name = '', ...more] = await readdir(join(cache, 'new'))
    const file = join(cache, 'new', name)
    expect([more, (await stat(file)).mode & 0o777]).toEqual([[], 0o600])
    const text = await readFile(file, 'utf8')
    for (const damaged of ['', '{}', text.replace('9', '"9"'), text.replace(keySet, digest), `${text}${' '.repeat(1024)}`]) {
      await writeFile(file, damaged)
      expect(await refusal(() => memory.get(keySet))).toBe('file_unavailable')
      expect(await refusal(() => memory.put(keySet, { sequence: 10, digest }))).toBe('file_unavailable')
    }
    await writeFile(join(cache, 'file'), '')
    expect(await refusal(() => diskReleases(join(cache, 'file')).get(keySet))).toBe('file_unavailable')
  })

  it('is where state is kept by default', () => {
    expect(defaultReleaseDirectory({ XDG_STATE_HOME: '/state' })).toBe('/state/veritee/releases')
    expect(defaultReleaseDirectory({ XDG_STATE_HOME: 'state' })).toMatch(/\.local\/state\/veritee\/releases$/)
  })

  it('a verified service has the policy with the statements by which it was judged', async () => {
    await show(await statement())
    const transport = nodeTransport(fake.url)
    const { options } = await connect(transport, { policy, trust: await trust(), role: 'controller', now: () => new Date() })
    transport.close()
    expect(options.policy.roles.worker?.released).toMatchObject([{ release: '0.1.0', sequence: 7 }])
  })
})
