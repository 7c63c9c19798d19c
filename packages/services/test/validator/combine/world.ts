// Three validators with an epoch each has published alone, and what somebody needs to judge them.

import { type AdmissionTrust, parseAdmissionManifest, signAdmissionManifest } from 'veritee/admission'
import { toHex } from 'veritee/bytes'
import { type EpochParts, type ReadFile, readFrom, rosterOf, writeEpoch } from 'veritee/scoring'
import { lenient, sgxClaims } from '../../../../veritee/test/policy/documents.ts'
import { makeEpoch, makeWorld, type World } from '../../../../veritee/test/scoring/epoch-world.ts'
import type { CombineOptions, Source } from '../../../src/validator/combine/combine.ts'

export type Files = Map<string, string>

export interface Combining {
  readonly world: World
  readonly trust: AdmissionTrust
  /** The signed admission manifest, and what it says. */
  readonly manifest: string
  readonly context: CombineOptions['context']
  /** Of all validators. */
  readonly parts: EpochParts
  readonly names: readonly string[]
  /** The bundle of validator `i` alone, signed by itself. */
  solo(i: number, change?: (parts: EpochParts) => EpochParts): Promise<Files>
}

export async function combining(): Promise<Combining> {
  const world = await makeWorld({ validators: 3, withLog: false })
  const made = await makeEpoch(world, 6)
  const { operators } = made.roster
  const section = { ...lenient(await sgxClaims()), operator: operators }
  const manifest = await signAdmissionManifest(
    JSON.stringify({
      version: 'veritee.admission-manifest.v1',
      network: 'test',
      manifest_version: 1,
      issued: 900_000,
      expires: 2_000_000,
      roles: { worker: section, controller: section },
      platforms: { salt: made.roster.salt, allow: 'any', deny: [], shared: [] },
      signatures: [],
    }),
    world.signer,
  )
  const roster = rosterOf(await parseAdmissionManifest(manifest))
  const parts: EpochParts = { ...made, roster: { ...roster, operators } }
  const names = world.keys.map((key) => toHex(key.publicKey))
  const trust = { network: 'test', keys: [toHex(world.signer.publicKey)], threshold: 1, minimumVersion: 1 }
  return {
    world,
    trust,
    manifest,
    context: { trust, roster, verifyProof: async (text) => JSON.parse(text) as { keyset: string; operator: string; platform: string } },
    parts,
    names,
    solo: async (i, change = (one) => one) => {
      const own = parts.validators[i]
      const key = world.keys[i]
      if (own === undefined || key === undefined) throw new RangeError(`no validator ${i}`)
      return new Map((await writeEpoch(change({ ...parts, validators: [own] }), [key])).bundle)
    },
  }
}

export function sourceOf(name: string, files: ReadonlyMap<string, string | Uint8Array>): Source {
  return { name, read: readFrom(files) satisfies ReadFile }
}
