import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSimPlatform } from 'veritee/attestation/sim'
import { type Json, toBase64 } from 'veritee/bytes'
import type { EvidencePolicy } from 'veritee/policy'
import { servedReleasesText } from 'veritee/release'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createMakers, enclaveOf, type Makers } from '../../../veritee/test/release/makers.ts'
import { createMemoryStore, openStore } from '../../src/enclave/broker/index.ts'
import { openFileSealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import {
  askOf,
  attest,
  attestationBody,
  authenticate,
  clockFrom,
  descriptorOf,
  enclaves,
  evidenceOf,
  get,
  outcomeOf,
  policyText,
  quoterOf,
  type RunningBroker,
  said,
  secret,
  startBroker,
} from './system.ts'

/** Keys whose policy names makers of releases in the place of measurements: their statements come from the operator of the broker, or with the evidence. */

const name = 'models/demo/1'
const clock = clockFrom(new Date())
const seconds = (): number => Math.floor(clock.now().getTime() / 1000)
let directory: string
let makers: Makers
let running: RunningBroker
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-broker-releases-'))
  makers = await createMakers(seconds() - 60)
})
beforeEach(async () => {
  running = await begin()
})
const started: RunningBroker[] = []
afterAll(async () => {
  for (const one of started) await one.close()
  await rm(directory, { recursive: true, force: true })
})
async function begin(options: Parameters<typeof startBroker>[0] = {}, changes: Partial<EvidencePolicy> = {}): Promise<RunningBroker> {
  const platform = await createSimPlatform({ at: clock.now() })
  const one = await startBroker({ clock, platform, peerCollateral: async () => platform.collateral, ...options })
  started.push(one)
  if (Object.keys(one.store.state.resources).length > 0) return one
  for (const evidence of ['veritee', 'quote'] as const)
    await one.put(evidence === 'veritee' ? name : 'models/quote/1', { evidence, policy: demanding(changes) })
  return one
}
const demanding = (changes: Partial<EvidencePolicy> = {}): string => policyText({ identity: 'released', release: makers.demand, ...changes })

type Changes = NonNullable<Parameters<Makers['statement']>[0]>
const own = (changes: object = {}) => enclaveOf({ mrenclave: enclaves.worker.mrenclave, isv_prod_id: 1, isv_svn: 1, cpu_variant: null, ...changes })
const statement = (changes: Changes = {}, signers = 2): Promise<string> =>
  makers.statement({ release: '0.0.0', enclaves: [own()], ...changes }, signers)
const list = (...statements: string[]): Promise<string> => servedReleasesText(statements.map((one) => ({ statement: one, proof: null })))
const given = (broker: RunningBroker, ...statements: string[]): Promise<void> =>
  broker.broker.takeReleases(statements.map((one) => ({ statement: one, proof: null })))
const asking = async (...statements: string[]): Promise<string> => outcomeOf(askOf(running, name, { releases: await list(...statements) }))

describe('S25: a broker releases to what a release statement names', () => {
  it('given by its operator, or sent with the evidence, and then to a quote alone too', async () => {
    expect(await outcomeOf(askOf(running, name))).toBe('policy_release')
    expect(await asking(await statement())).toBe('released')
    const other = await begin()
    await given(other, await statement())
    expect(await outcomeOf(askOf(other, name))).toBe('released')
    expect(await quoteOnly(other)).toBe('200')
    expect(await quoteOnly(running)).toBe('200')
    expect(await quoteOnly(await begin())).toBe('401 policy_release')
  })

  it('a list of measurements beside it is demanded too, and other programs get nothing', async () => {
    const other = await begin({}, { identity: [{ mrenclave: '00'.repeat(32) }] })
    await given(other, await statement())
    expect(await outcomeOf(askOf(other, name))).toBe('policy_identity')
    await given(running, await statement())
    expect(await outcomeOf(askOf(running, name, { of: enclaves.other }))).toBe('release_measurement_unknown')
  })

  const hostile: readonly (readonly [string, string, () => Promise<string>])[] = [
    ['too few signatures', 'release_signatures_missing', () => statement({}, 1)],
    ['makers that the policy does not name', 'release_signatures_missing', async () => (await createMakers(seconds())).statement()],
    ['one that was changed', 'release_signature_invalid', async () => (await statement()).replace('"sequence":7', '"sequence":8')],
    ['an expired one', 'release_expired', () => statement({ issued: seconds() - makers.demand.maxReleaseAge - 1 })],
    ['one of the future', 'release_expired', () => statement({ issued: seconds() + 3600 })],
    ['an older one than was seen', 'release_rolled_back', () => statement({ sequence: 5 })],
    ['another product', 'policy_release', () => statement({ product: 'other' })],
    ['the measurement under another role', 'release_measurement_unknown', () => statement({ enclaves: [own({ role: 'controller' })] })],
    ['another release than the descriptor names', 'release_measurement_unknown', () => statement({ release: '9.9.9' })],
    ['a withdrawn release', 'release_withdrawn', () => statement({ withdrawn: ['0.0.0'] })],
    ['a security version below the floor', 'release_svn', () => statement({ svn_floor: { worker: 2 } })],
  ]
  it.each(hostile)('%s: %s, in the answer and in the trail, whoever brings it', async (_, code, make) => {
    const store = createMemoryStore()
    const before = await begin({ store })
    await given(before, await statement({ sequence: 6 }))
    expect(await outcomeOf(askOf(before, name))).toBe('released')
    // A broker that starts anew on the same store.
    running = await begin({ store })
    expect(await asking(await make())).toBe(code)
    expect(store.state.refusals.at(-1)).toMatchObject({ event: 'refusal', code, resource: name, measurement: enclaves.worker.mrenclave })
    const next = await begin({ store })
    await given(next, await make())
    expect(await outcomeOf(askOf(next, name))).toBe(code)
  })

  it('a newer statement that withdraws the release holds for everybody, whoever brought it', async () => {
    expect(await asking(await statement())).toBe('released')
    expect(await asking(await statement({ sequence: 8, withdrawn: ['0.0.0'] }))).toBe('release_withdrawn')
    expect(await asking(await statement())).toBe('release_withdrawn')
  })

  it('what is no list, and one that is too long, is no evidence', async () => {
    const attesting = async (releases: Json): Promise<string> => {
      const shake = await authenticate(running.kbs.url)
      const parts = await evidenceOf(running, shake)
      const body = attestationBody(parts) as { 'tee-evidence': { primary_evidence: { veritee: { [name: string]: Json } } } }
      body['tee-evidence'].primary_evidence.veritee.releases = releases
      return said(await attest(running.kbs.url, shake.cookie, body as unknown as Json))
    }
    expect(await attesting(JSON.parse(await list(await statement())) as Json)).toBe('200')
    expect(await attesting({})).toBe('401 release_statement_malformed')
    expect(await attesting({ version: 'veritee.releases.v1', statements: Array(5).fill({ statement: {}, proof: null }) })).toBe(
      '401 release_statement_malformed',
    )
    expect(await attesting({ version: 'veritee.releases.v1', statements: [], more: 'x'.repeat(32_768) })).toBe('401 kbs_request_malformed')
    // A worker does not send what no broker takes.
    const enclaveList = Array.from({ length: 200 }, (_, i) => own({ mrenclave: i.toString(16).padStart(64, '0') }))
    expect(await asking(await statement({ enclaves: [own(), ...enclaveList] }))).toBe('policy_release')
  })

  it('S11: a statement is a floor of the clock, and a clock that is set back makes no old one young', async () => {
    let back = 0
    const now = (): Date => new Date(clock.now().getTime() - back)
    const other = await startBroker({ now, clock: { now, forward: () => undefined } })
    started.push(other)
    await other.put(name, { policy: demanding({ release: { ...makers.demand, maxReleaseAge: 3600 } }) })
    await given(other, await statement({ issued: seconds() - 10 }))
    expect(await outcomeOf(askOf(other, name))).toBe('released')
    await given(
      other,
      await statement({ sequence: 8, issued: seconds() - 4000 }),
      await statement({ sequence: 9, enclaves: [own({ mrenclave: '11'.repeat(32) })] }),
    )
    back = 2000_000
    expect(await outcomeOf(askOf(other, name))).toBe('release_measurement_unknown')
  })
})

/** What comes of asking with a quote alone, as clients of Trustee do. */
async function quoteOnly(broker: RunningBroker): Promise<string> {
  const shake = await authenticate(broker.kbs.url)
  const quote = await quoterOf(broker.platform).quote({ purpose: 'kbs.rcar.v0', nonce: shake.nonce, teeKey: shake.teeKey, descriptorDigest: null })
  const body = attestationBody({ ...(await evidenceOf(broker, shake)), quote, additional: '', descriptor: null })
  expect(said(await attest(broker.kbs.url, shake.cookie, body))).toBe('200')
  return said(await get(broker.kbs.url, 'models/quote/1', { cookie: shake.cookie }))
}

describe('S25: the newest statement seen is in the store', () => {
  it('sealed, written before anything is released by it, and read by the next process', async () => {
    const path = join(directory, 'store')
    const sealing = await openFileSealingKey(`${path}.key`)
    const first = await begin({ store: await openStore(path, sealing) })
    await given(first, await statement({ sequence: 9 }))
    expect(await outcomeOf(askOf(first, name))).toBe('released')
    await first.broker.close()
    const store = await openStore(path, sealing)
    expect(Object.values(store.state.releases)).toMatchObject([{ sequence: 9 }])
    const next = await begin({ store })
    await given(next, await statement({ sequence: 8 }))
    expect(await outcomeOf(askOf(next, name))).toBe('release_rolled_back')
    await given(next, await statement({ sequence: 10 }))
    expect(await outcomeOf(askOf(next, name))).toBe('released')
    await next.broker.close()
    // From a file that was written anew as a whole, no less than from what was appended.
    const again = await openStore(path, sealing)
    expect(Object.values(again.state.releases)).toMatchObject([{ sequence: 10 }])
    await again.close()
  })

  it('a policy that names a log is refused as before, and one that names makers is not', async () => {
    const putting = async (policy: string): Promise<unknown> => {
      const { json, status } = await running.tell('POST', 'resources', {
        resource: 'models/other/1',
        value: toBase64(secret),
        policy,
        evidence: 'veritee',
      })
      return status === 201 ? status : (json as { error: { code: unknown } }).error.code
    }
    expect(await putting(demanding({ log: { origin: 'x', key: 'y', witnesses: ['w'], quorum: 1 } }))).toBe('policy_unsupported')
    expect(await putting(demanding())).toBe(201)
    expect(descriptorOf('worker').release.version).toBe('0.0.0')
  })
})
