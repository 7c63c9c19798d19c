import fc from 'fast-check'
import { type Json, jcs } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type EpochParts, readFrom, verifyEpoch, writeEpoch } from 'veritee/scoring'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { type Combined, type CombineOptions, combineEpoch, type Source } from '../../../src/validator/combine/combine.ts'
import { codeOf } from '../../sealed/code-of.ts'
import { type Combining, combining, type Files, sourceOf } from './world.ts'

// A pairing for each bundle, on machines that others use too.
vi.setConfig({ testTimeout: 180_000 })
let setting: Combining
let solos: readonly Files[]
beforeAll(async () => {
  setting = await combining()
  solos = await Promise.all([0, 1, 2].map((i) => setting.solo(i)))
}, 180_000)

const key = (i: number) => setting.world.keys[i] as Combining['world']['keys'][0]
const name = (i: number): string => setting.names[i] as string
const sources = (files: readonly Files[] = solos): Source[] => files.map((one, i) => sourceOf(`source ${i}`, one))
const combine = (from: readonly Source[], options: Partial<CombineOptions> = {}): Promise<Combined> =>
  combineEpoch(from, { context: setting.context, before: null, keys: [key(0)], ...options })
const manifestOf = ({ bundle }: Pick<Combined, 'bundle'>): string | undefined => bundle.get('manifest.json')
const part = (i: number): EpochParts['validators'][0] => setting.parts.validators[i] as EpochParts['validators'][0]

describe('bundles of several validators', () => {
  it('become the one that all of them would have written together, and it verifies', async () => {
    const combined = await combine(sources())
    const together = await writeEpoch(setting.parts, [key(0)])
    expect(new Map(combined.bundle)).toEqual(new Map(together.bundle))
    expect(combined.sources.map(({ refused, validators }) => [refused, validators])).toEqual([0, 1, 2].map((i) => [null, [name(i)]]))
    const verdict = await verifyEpoch(readFrom(combined.bundle), { ...setting.context, previous: null })
    expect([verdict.verdict, verdict.missed, verdict.scores?.validators.map(({ weight }) => weight)]).toEqual(['verified', [], [1n, 1n, 1n]])
  })

  it('give the same bytes in any order, whoever combines them', async () => {
    const expected = manifestOf(await combine(sources()))
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([0, 1, 2], { minLength: 3 }), fc.nat(2), async (order, by) => {
        const all = sources()
        const again = await combine(
          order.map((i) => all[i] as Source),
          { keys: [key(by)] },
        )
        expect(manifestOf(again)).toBe(expected)
      }),
      { numRuns: 4 },
    )
  })

  it('that validators combined apart are one bundle, which has all of their signatures then', async () => {
    const apart = await Promise.all([0, 1].map((i) => combine(sources(), { keys: [key(i)] })))
    const merged = await combine(
      apart.map(({ bundle }, i) => sourceOf(`combined ${i}`, bundle)),
      { keys: [] },
    )
    // Two of three hold most of the weight: their bundle stands, though the third's own is not among these.
    expect(manifestOf(merged)).toBe(manifestOf(apart[0] as Combined))
    expect(merged.signers).toEqual([name(0), name(1)])
    const one = await combine([sourceOf('alone', (apart[0] as Combined).bundle)], { keys: [key(0)] })
    expect([...one.written.missed.keys()]).toEqual([name(1), name(2)])
    const [second] = apart.slice(1)
    const whole = await combine([...sources(), sourceOf('combined', (second as Combined).bundle)])
    const verdict = await verifyEpoch(readFrom(whole.bundle), { ...setting.context, previous: null })
    expect([verdict.verdict, verdict.signers]).toEqual(['verified', [name(0), name(1)]])
  })

  it('that nobody signs are none', async () => {
    expect(await codeOf(() => combine(sources(), { keys: [] }))).toBe('usage')
  })
})

describe('a bundle that is left out does not stop the others', () => {
  const refusedOf = async (second: Source) => {
    const [first, , third] = sources()
    const { sources: judged, written } = await combine([first as Source, second, third as Source])
    expect(judged.map(({ validators }) => validators)).toEqual([[name(0)], [], [name(2)]])
    expect([...written.missed.keys()]).toEqual([name(1)])
    return judged[1]?.refused
  }

  it.each<[string, (files: Files) => Files, string, RegExp]>([
    [
      'a changed record',
      (files) => {
        const path = [...files.keys()].find((one) => one.endsWith('records.jsonl')) ?? ''
        return files.set(path, (files.get(path) ?? '').replace('"output_tokens":100', '"output_tokens":900'))
      },
      'audit_record_signature_invalid',
      /records\.jsonl/,
    ],
    ['a changed score', (files) => files.set('scores.json', `${files.get('scores.json')} `), 'epoch_file_changed', /scores\.json/],
    [
      'a signature of nobody',
      (files) => files.set('signatures.json', '{"signatures":[],"version":"veritee.epoch-signatures.v1"}'),
      'epoch_signature_invalid',
      /signatures\.json/,
    ],
    ['a file that is not there', (files) => (files.delete('beacon.json') ? files : files), 'file_unavailable', /beacon\.json/],
  ])('with %s', async (_, change, code, message) => {
    expect(await refusedOf(sourceOf('second', change(new Map(solos[1]))))).toEqual({ code, message: expect.stringMatching(message) })
  })

  it('whose site is gone', async () => {
    const read = () => Promise.reject(fail('service_unavailable', 'no answer'))
    expect(await refusedOf({ name: 'second', read })).toEqual({ code: 'service_unavailable', message: 'no answer' })
  })

  it('whose roster is another one', async () => {
    const files = await setting.solo(1, (parts) => ({ ...parts, roster: { ...parts.roster, operators: parts.roster.operators.slice(1) } }))
    expect(await refusedOf(sourceOf('second', files))).toMatchObject({ code: 'epoch_mismatch' })
  })

  it('whose policy has other signatures', async () => {
    const policy = jcs({ ...(JSON.parse(setting.parts.policy) as { [name: string]: Json }), signatures: [] })
    const files = await setting.solo(1, (parts) => ({ ...parts, policy }))
    expect(await refusedOf(sourceOf('second', files))).toMatchObject({ code: 'scoring_policy_rejected' })
  })

  it('and where none holds, nothing is written', async () => {
    const gone: Source = { name: 'gone', read: () => Promise.reject(fail('service_unavailable', 'no answer')) }
    await expect(combine([gone])).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('gone: service_unavailable') })
  })
})

describe('what a validator handed in is its own word', () => {
  it('others cannot shorten it, lengthen it, or hand it in for it', async () => {
    const { duties, records } = part(0)
    const cut = { ...part(0), records: records.slice(0, -1), duties: { ...duties, records: { ...duties.records, salt: null } } }
    const liar = await setting.solo(1, (parts) => ({ ...parts, validators: [cut, part(1)] }))
    const combined = await combine([sourceOf('liar', liar), ...sources()])
    expect(combined.written.missed.size).toBe(0)
    expect(combined.sources[0]?.validators).toEqual([name(1)])
    const without = await combine([sourceOf('liar', liar)])
    expect([...without.written.missed.keys()]).toEqual([name(0), name(2)])
  })

  it('one that signs two different accounts counts for nothing, and is named', async () => {
    const { records } = part(2)
    const second = await setting.solo(2, (parts) => ({ ...parts, validators: [{ ...part(2), records: records.slice(0, -1) }] }))
    const combined = await combine([...sources(), sourceOf('again', second)])
    expect([combined.doubled, [...combined.written.missed.keys()]]).toEqual([[name(2)], [name(2)]])
    expect(combined.sources.map(({ validators }) => validators)).toEqual([[name(0)], [name(1)], [], []])
  })

  it('openings that came later are added', async () => {
    const later = await setting.solo(0, (parts) => ({ ...parts, validators: [{ ...part(0), openings: [] }] }))
    const combined = await combine([sourceOf('before', later), ...sources()])
    expect(manifestOf(combined)).toBe(manifestOf(await combine(sources())))
  })

  it('a server that gives other bytes the second time is taken by the first', async () => {
    const files = solos[1] as Files
    const asked = new Map<string, number>()
    const read: Source['read'] = async (path, maxBytes) => {
      asked.set(path, (asked.get(path) ?? 0) + 1)
      return readFrom(files)(path, maxBytes)
    }
    await combine([{ name: 'one', read }])
    expect(Math.max(...asked.values())).toBe(1)
  })
})

describe('proofs and states', () => {
  const accused = (n: number) => ({ keyset: `sha256:${String(n).repeat(64)}`, operator: 'a0'.repeat(32), platform: 'c0'.repeat(32) })
  const proof = (n: number, note = '') => ({ text: JSON.stringify({ ...accused(n), note }), ...accused(n) })
  const accusing = (i: number, ...proofs: EpochParts['proofs']): Promise<Files> => setting.solo(i, (parts) => ({ ...parts, proofs }))

  it('whoever found a fraud, it convicts once for each keyset', async () => {
    const files = await Promise.all([accusing(0, proof(1, 'b')), accusing(1, proof(2), proof(1, 'a'))])
    const combined = await combine(sources(files))
    const reversed = await combine(sources(files.toReversed()))
    expect(manifestOf(reversed)).toBe(manifestOf(combined))
    expect(JSON.parse(combined.bundle.get('proven.json') ?? '')).toMatchObject({ proven: [accused(1), accused(2)] })
    expect(combined.bundle.get('proofs/00000.json')).toContain('"note":"a"')
    expect(combined.written.scores.convictions.map(({ operator }) => operator)).toEqual(['a0'.repeat(32)])
  })

  it('are not taken from anybody without saying whose evidence counts', async () => {
    const files = await accusing(0, proof(1))
    expect(await codeOf(() => combine([sourceOf('one', files)], { context: { ...setting.context, verifyProof: null } }))).toBe('usage')
  })

  it('bundles that begin from different states need to be told from which', async () => {
    const { scores } = await writeEpoch(setting.parts, [key(0)])
    const other = { ...scores.after, epoch: null }
    const files = [solos[0] as Files, await setting.solo(1, (parts) => ({ ...parts, before: other }))]
    expect(await codeOf(() => combine(sources(files)))).toBe('usage')
    const combined = await combine(sources(files), { before: setting.parts.before })
    expect(combined.written.missed.size).toBe(1)
    expect(combined.bundle.get('before.json')).toBe((solos[0] as Files).get('before.json'))
  })
})
