import fc from 'fast-check'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { sha256Digest, toHex, utf8 } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import { fail } from '../../src/errors.ts'
import { manifestText } from '../../src/scoring/epoch/files.ts'
import { parseLeaves } from '../../src/scoring/epoch/write.ts'
import {
  type EpochContext,
  type EpochParts,
  type EpochVerdict,
  openCanaries,
  parseState,
  readFrom,
  rosterOf,
  verifyEpoch,
  type WrittenEpoch,
  writeEpoch,
} from '../../src/scoring/index.ts'
import { type Dishonest, makeEpoch, makeWorld, type World } from './epoch-world.ts'
import { digest, hex } from './random-epoch.ts'

// Two pairings for each bundle, on machines that others use too.
vi.setConfig({ testTimeout: 180_000 })
const context: EpochContext = { trust: null, verifyProof: null, roster: null, previous: null }
let world: World
let parts: EpochParts
let written: WrittenEpoch
beforeAll(async () => {
  world = await makeWorld()
  parts = await makeEpoch(world, 20)
  written = await writeEpoch(parts, world.keys)
}, 120_000)

type Files = ReadonlyMap<string, string | Uint8Array>
const verify = (files: Files, with_: Partial<EpochContext> = {}): Promise<EpochVerdict> => verifyEpoch(readFrom(files), { ...context, ...with_ })
const changed = (path: string, change: (text: string) => string): Files =>
  new Map([...written.bundle, [path, change(written.bundle.get(path) ?? '')]])
const recordsPath = (i = 0): string => `validators/${toHex((world.keys[i] as { publicKey: Uint8Array }).publicKey)}/records.jsonl`

describe('the bundle of an epoch', () => {
  it('verifies, with every number recomputed and every duty done', async () => {
    const trust = { network: 'test', keys: [toHex(world.signer.publicKey)], threshold: 1, minimumVersion: 1 }
    const found = await verify(written.bundle, { trust, roster: parts.roster })
    expect(found).toMatchObject({ verdict: 'verified', network: 'test', epoch: 0, first: null, missed: [] })
    expect(found.checks.filter(({ status }) => status !== 'pass').map(({ id }) => id)).toEqual(['log-itself'])
    expect(found.scores?.network.workers.length).toBeGreaterThan(0)
    expect(found.scores?.network.controllers.length).toBe(1)
  })

  it('tells what was not judged', async () => {
    const found = await verify(written.bundle)
    expect([found.verdict, found.checks.filter(({ status }) => status === 'waived').map(({ id }) => id)]).toEqual([
      'verified',
      ['policy', 'roster', 'log-itself'],
    ])
  })

  it('any byte of a record that is changed makes it fail, with that record named', async () => {
    const path = recordsPath()
    const text = written.bundle.get(path) as string
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.integer({ min: 1, max: 127 }), async (at, by) => {
        const bytes = utf8(text)
        bytes[at] = (bytes[at] as number) ^ by
        const found = await verify(new Map<string, string | Uint8Array>([...written.bundle, [path, bytes]]))
        expect(found.verdict).toBe('rejected')
        expect(found.first?.file).toBe(path)
        expect(found.first?.record?.line).toBe(text.slice(0, at).split('\n').length - 1)
      }),
      { numRuns: 100 },
    )
  }, 120_000)

  it('any byte of any file that is changed makes it fail', async () => {
    const paths = [...written.bundle.keys()]
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), fc.nat(), fc.integer({ min: 1, max: 127 }), async (path, where, by) => {
        const bytes = utf8(written.bundle.get(path) as string)
        const at = where % bytes.length
        bytes[at] = (bytes[at] as number) ^ by
        const files = new Map<string, string | Uint8Array>([...written.bundle, [path, bytes]])
        // A manifest that names another file asks for what is not there.
        const found = await verify(files).catch((error: { readonly code?: string }) => ({ verdict: error.code }))
        expect(['rejected', 'file_unavailable']).toContain(found.verdict)
      }),
      { numRuns: 30 },
    )
  }, 300_000)

  it('the first of two wrong records is the one that is named', async () => {
    const found = await verify(changed(recordsPath(), (text) => text.replace('"index":3', '"index":9').replace('"index":7', '"index":9')))
    expect(found.first).toMatchObject({ record: { line: 3 }, code: 'audit_record_signature_invalid' })
  })

  /** The same bundle with other documents, its manifest written and signed anew by its validators: only what does not follow is left to find. */
  async function forged(
    change: (parts: EpochParts) => EpochParts,
    also: (files: Map<string, string>) => void = () => undefined,
  ): Promise<EpochVerdict> {
    const again = await writeEpoch(change(parts), world.keys)
    const files = new Map(again.bundle)
    also(files)
    const { signaturesText, signManifest } = await import('../../src/scoring/epoch/files.ts')
    files.delete('manifest.json')
    files.delete('signatures.json')
    const manifest = await manifestText('test', 0, files)
    const signatures = await Promise.all(world.keys.map((key) => signManifest(utf8(manifest), key)))
    return verify(new Map([...files, ['manifest.json', manifest], ['signatures.json', signaturesText(signatures)]]))
  }
  const put = (path: string, from: string | RegExp, to: string) => (files: Map<string, string>) => {
    const text = files.get(path) as string
    expect(text.replace(from, to)).not.toBe(text)
    files.set(path, text.replace(from, to))
  }
  const same = (one: EpochParts): EpochParts => one

  it('numbers that do not follow are named by their place, though everybody signed them', async () => {
    expect((await forged(same)).verdict).toBe('verified')
    const weights = await forged(same, put('weights.json', /"weight":\d+/, '"weight":65535'))
    expect(weights.first).toMatchObject({
      file: 'weights.json',
      code: 'epoch_mismatch',
      message: expect.stringMatching(/^\/weights\/0\/weight: expected/),
    })
    for (const [path, from, to] of [
      ['scores.json', /"goodness":"[0-9.]+"/, '"goodness":"1.000000000"'],
      ['scores.json', /"raw":"[0-9.]+"/, '"raw":"1.000000000"'],
      ['after.json', /"score":"[0-9.]+"/, '"score":"1.000000000"'],
      ['missed.json', '"missed":[]', `"missed":[{"detail":"","duty":"indices","record":null,"validator":"${hex(1)}"}]`],
    ] as const)
      expect((await forged(same, put(path, from, to))).first).toMatchObject({ file: path, code: 'epoch_mismatch' })
  })

  it('files that nothing follows from, are missing, or are of others are refused', async () => {
    expect((await forged(same, (files) => files.set('notes.txt', 'hello'))).first?.code).toBe('epoch_malformed')
    expect((await forged(same, (files) => files.delete('weights.json'))).first?.code).toBe('epoch_malformed')
    expect((await forged(same, (files) => files.set(`validators/${hex(1)}/records.jsonl`, ''))).first?.code).toBe('epoch_malformed')
  })

  it('a log or beacon that does not fit is refused', async () => {
    const other = await world.beacon.round(parts.rounds.opened.round + 1)
    const { closed } = parts.rounds
    const codes = async (files: (files: Map<string, string>) => void) => (await forged(same, files)).first?.code
    const text = (round: unknown) => JSON.stringify({ version: 'veritee.epoch-beacon.v1', opened: round, closed })
    expect(await codes((files) => files.set('beacon.json', text(other)))).toBe('epoch_beacon_invalid')
    expect(await codes((files) => files.set('beacon.json', text({ ...other, round: other.round - 1 })))).toBe('beacon_signature_invalid')
    expect(
      await codes((files) =>
        files.set('beacon.json', JSON.stringify({ version: 'veritee.epoch-beacon.v1', opened: parts.rounds.opened, closed: other })),
      ),
    ).toBe('epoch_beacon_invalid')
    expect(await codes(put('leaves.txt', /^..../, '0000'))).toBe('epoch_log_invalid')
    expect(await codes(put('leaves.txt', /^.*\n/, ''))).toBe('epoch_log_invalid')
    expect(await codes(put('log.json', /"before":\["..../, '"before":["0000'))).toBe('epoch_log_invalid')
    expect(await codes((files) => files.delete('log.json'))).toBe('epoch_log_invalid')
  })

  it('is signed by at least one validator of the policy, and by nobody else', async () => {
    const { signaturesText, signManifest } = await import('../../src/scoring/epoch/files.ts')
    const manifest = utf8(written.bundle.get('manifest.json') as string)
    const by = async (keys: readonly Parameters<typeof signManifest>[1][]): Promise<string | undefined> => {
      const text = signaturesText(await Promise.all(keys.map((key) => signManifest(manifest, key))))
      return (await verify(new Map([...written.bundle, ['signatures.json', text]]))).first?.code
    }
    expect(await by(world.keys.slice(0, 1))).toBeUndefined()
    expect(await by([])).toBe('epoch_signature_invalid')
    expect(await by([...world.keys, await generateEd25519()])).toBe('epoch_signature_invalid')
  })

  it('the policy, the operators and the epoch before are those that the verifier brings', async () => {
    const trust = { network: 'test', keys: [toHex(world.signer.publicKey)], threshold: 1, minimumVersion: 1 }
    expect((await verify(written.bundle, { trust: { ...trust, keys: [hex(1)] } })).first?.code).toBe('scoring_policy_rejected')
    expect((await verify(written.bundle, { trust: { ...trust, minimumVersion: 2 } })).first?.code).toBe('scoring_policy_rejected')
    expect((await verify(written.bundle, { roster: { ...parts.roster, operators: [hex(1)] } })).first?.code).toBe('epoch_mismatch')
    expect((await verify(written.bundle, { roster: { ...parts.roster, manifest: digest(1) } })).first?.code).toBe('epoch_mismatch')
    expect((await verify(written.bundle, { roster: { ...parts.roster, salt: hex(1) } })).first?.code).toBe('epoch_mismatch')
    const unlisted = await verify(written.bundle, { roster: { ...parts.roster, operators: null } })
    expect(unlisted.checks.find(({ id }) => id === 'roster')?.status).toBe('waived')
    expect((await verify(written.bundle, { previous: digest(1) })).first?.code).toBe('epoch_mismatch')
    const previous = await sha256Digest(utf8(written.bundle.get('before.json') as string))
    expect((await verify(written.bundle, { previous })).verdict).toBe('verified')
  })
})

describe('leaves of a log are read line by line', () => {
  const line = `${hex(0xab)}\n`
  it('as many as there are', () => {
    expect(parseLeaves('')).toEqual([])
    // More than one regular expression has stack for, were it over the whole text.
    expect(parseLeaves(line.repeat(100_000)).length).toBe(100_000)
  })

  it.each([
    'x',
    '\n',
    line.slice(1),
    line.slice(0, -1),
    `${line}\n`,
    line.toUpperCase(),
    `${hex(1)} `,
    `${line}${hex(1)}\r`,
    ` ${line.slice(1)}`,
    `${hex(1).slice(0, 63)}\n\n`,
  ])('%j is refused', async (text) => {
    const { refusal } = await import('../bytes/refusal.ts')
    expect(await refusal(() => parseLeaves(text))).toBe('epoch_malformed')
  })
})

describe('the roster of a manifest', () => {
  const of = (worker: readonly string[] | 'any', controller?: readonly string[] | 'any') => {
    const section = (operator: readonly string[] | 'any') => ({ operator })
    const roles = { worker: section(worker), ...(controller === undefined ? {} : { controller: section(controller) }) }
    const manifest = { roles, platforms: { salt: hex(9), allow: 'any', deny: [], shared: [hex(8)] } }
    return rosterOf({ manifest, digest: digest(1) } as never)
  }

  it('has the operators of workers and controllers, each once, and none where anybody may be one of a worker', () => {
    expect(of([hex(3), hex(2)], [hex(2), hex(1)])).toEqual({
      manifest: digest(1),
      salt: hex(9),
      operators: [hex(1), hex(2), hex(3)],
      shared: [hex(8)],
    })
    expect(of([hex(3)]).operators).toEqual([hex(3)])
    expect([of('any', [hex(1)]).operators, of([hex(1)], 'any').operators]).toEqual([null, [hex(1)]])
  })
})

describe('S16: duties of validators', () => {
  it.each<[string, Dishonest, string]>([
    ['does not open its seed', { hideSeed: true }, 'seed_opened'],
    ['commits to its seed after the opening round', { lateSeed: true }, 'seed_logged'],
    ['commits to its seed after the opening round, with one of two witnesses that dates it back', { backdatedSeed: true }, 'seed_logged'],
    ['leaves out an audit that it drew', { skipChosen: true }, 'organic_missing'],
    ['audits what it did not draw', { extraOrganic: true }, 'organic_unchosen'],
    ['leaves out a record', { gap: true }, 'indices'],
    ['has two probes from one leaf', { ownLeaf: 'twice' }, 'leaves'],
    ['names another leaf than the log has in that place', { ownLeaf: 'other' }, 'leaves'],
    ['audits a receipt of its own probe once more as organic', { ownLeaf: 'again' }, 'organic_unchosen'],
    ['publishes other records than it committed to', { swapRecords: true }, 'records_opened'],
    ['sends a canary that it did not commit to', { lateCanary: true }, 'canaries_committed'],
    ['counts a canary twice', { doubleCanary: true }, 'canaries_committed'],
    ['tells no list of its canaries', { hideCanaries: true }, 'canaries_committed'],
  ])('one that %s counts for nothing, and the bundle says so', async (_, dishonest, duty) => {
    const here = await makeWorld()
    const found = await writeEpoch(await makeEpoch(here, 6, dishonest), here.keys)
    const last = toHex((here.keys[1] as { publicKey: Uint8Array }).publicKey)
    expect([...found.missed].map(([validator, missed]) => [validator, missed.duty])).toEqual([[last, duty]])
    expect(found.scores.validators.map(({ weight }) => weight)).toEqual([1n, 0n])
    expect(found.scores.after.disqualified.get(last)).toBe(1)
    expect((await verify(found.bundle)).verdict).toBe('verified')
  })

  it('S16: a chosen leaf that is the receipt of its own probe has been audited as that', async () => {
    const here = await makeWorld()
    const found = await writeEpoch(await makeEpoch(here, 6, { ownLeaf: 'once' }), here.keys)
    expect(found.missed.size).toBe(0)
    expect((await verify(found.bundle)).verdict).toBe('verified')
  })

  it('one that hands in nothing has missed them', async () => {
    const found = await writeEpoch({ ...parts, validators: parts.validators.slice(0, 1) }, world.keys)
    expect(found.missed.size).toBe(1)
    expect((await verify(found.bundle)).verdict).toBe('verified')
  })

  it('one that is left out by a minority of the others is told as not judged', async () => {
    const alone = { ...parts, validators: parts.validators.slice(0, 1) }
    const status = async (signers: World['keys']) => {
      const { bundle } = await writeEpoch(alone, signers)
      const { verdict, checks } = await verify(bundle)
      return [verdict, checks.find(({ id }) => id === 'signatures')?.status]
    }
    expect(await status(world.keys.slice(0, 1))).toEqual(['verified', 'waived'])
    expect(await status(world.keys)).toEqual(['verified', 'pass'])
  })

  it('without a log, nothing can be chosen, and it is told that time is not shown', async () => {
    const here = await makeWorld({ withLog: false, validators: 1 })
    const found = await writeEpoch(await makeEpoch(here, 6), here.keys)
    const verdict = await verify(found.bundle)
    expect([verdict.verdict, verdict.checks.find(({ id }) => id === 'log')?.status]).toEqual(['verified', 'waived'])
  })
})

describe('canaries and proofs', () => {
  it('an opening that is of no canary of the epoch is refused', async () => {
    const part = parts.validators[0] as EpochParts['validators'][0]
    const other = { ...(part.openings[0] as (typeof part.openings)[0]), expected: 'Five.' }
    for (const openings of [[other], [...part.openings, ...part.openings]]) {
      const found = await writeEpoch({ ...parts, validators: [{ ...part, openings }, ...parts.validators.slice(1)] }, world.keys)
      expect((await verify(found.bundle)).first?.code).toBe('epoch_mismatch')
    }
  })

  it('S20: a bundle that was published without openings is published again with them, once', async () => {
    const [part, ...rest] = parts.validators as [EpochParts['validators'][0], ...EpochParts['validators']]
    const closed = await writeEpoch({ ...parts, validators: [{ ...part, openings: [] }, ...rest] }, world.keys)
    expect(closed.bundle.has(`validators/${part.validator}/openings.jsonl`)).toBe(false)
    const manifest = closed.bundle.get('manifest.json') as string
    const again = await openCanaries(manifest, part, world.keys)
    const found = await verify(new Map([...closed.bundle, ...again]))
    expect([found.verdict, found.checks.find(({ id }) => id === 'canaries')?.detail]).toEqual(['verified', '1 of 2 opened'])
    expect(new Map([...closed.bundle, ...again]).get('manifest.json')).toBe(written.bundle.get('manifest.json'))
    await expect(openCanaries(again.get('manifest.json') as string, part, world.keys)).rejects.toMatchObject({ code: 'epoch_malformed' })
  })

  it('an opening with a number that has no canonical form is refused, and is no defect of the verifier', async () => {
    const { parseOpening } = await import('../../src/scoring/epoch/documents.ts')
    const { refusal } = await import('../bytes/refusal.ts')
    const line = `{"prompt":"","parameters":{"a":[${'9'.repeat(30)}]},"expected":"","salt":"${hex(1)}"}`
    expect(await refusal(() => parseOpening(line))).toBe('epoch_malformed')
  })

  it('an epoch that begins from nothing in the middle of a network is told', async () => {
    const [policy, epoch] = [JSON.parse(parts.policy) as { epoch: { genesis: number } }, 1]
    expect(policy.epoch.genesis).toBeGreaterThan(0)
    const files = new Map(written.bundle)
    files.set('manifest.json', (files.get('manifest.json') as string).replace('"epoch":0', `"epoch":${epoch}`))
    const found = await verify(files)
    expect(found.checks.find(({ id }) => id === 'previous')).toMatchObject({
      status: 'waived',
      detail: expect.stringContaining('begins from nothing'),
    })
    expect(found.first).toMatchObject({ record: { line: 0 }, code: 'scoring_input_invalid' })
    files.set('manifest.json', (written.bundle.get('manifest.json') as string).replace('"epoch":0', '"epoch":4294967295'))
    expect((await verify(files)).verdict).toBe('rejected')
  })

  it('a conviction rests on a proof that the verifier judges, and on nobody else`s word', async () => {
    const accused = { keyset: digest(0x70), operator: hex(0xa0), platform: hex(0xc0) }
    const found = await writeEpoch({ ...parts, proofs: [{ text: '{"proof":1}', ...accused }] }, world.keys)
    expect(found.scores.convictions).toMatchObject([{ operator: hex(0xa0), platforms: [hex(0xc0)] }])
    const by = (verifyProof: EpochContext['verifyProof']) => verify(found.bundle, { verifyProof })
    expect((await by(null)).checks.find(({ id }) => id === 'proofs')?.status).toBe('waived')
    expect((await by(async () => accused)).verdict).toBe('verified')
    expect((await by(async () => ({ ...accused, operator: hex(0xa1) }))).first).toMatchObject({ file: 'proofs/00000.json', code: 'epoch_mismatch' })
    const refused = await by(() => Promise.reject(fail('fraud_not_shown', 'no')))
    expect(refused.first).toMatchObject({ file: 'proofs/00000.json', code: 'fraud_not_shown' })
  })

  it('a proof that is counted twice leaves no room for a file that nobody reads', async () => {
    const accused = { keyset: digest(0x70), operator: hex(0xa0), platform: hex(0xc0) }
    const proof = (n: number) => ({ text: `{"proof":${n}}`, ...accused })
    const { bundle } = await writeEpoch({ ...parts, proofs: [proof(1), proof(2)] }, world.keys)
    const twice = (bundle.get('proven.json') as string).replace('proofs/00001.json', 'proofs/00000.json')
    const files = new Map([...bundle, ['proven.json', twice]])
    const listed = [...files].filter(([path]) => path !== 'manifest.json' && path !== 'signatures.json')
    files.set('manifest.json', await manifestText('test', 0, new Map(listed)))
    expect((await verify(files, { verifyProof: async () => accused })).first).toMatchObject({ file: 'proven.json', code: 'epoch_malformed' })
  })

  it('hands its state on', () => {
    expect(parseState(written.bundle.get('after.json') as string, 'test').epoch).toBe(0)
  })
})
