import { jcsDigest } from '../bytes/digest.ts'
import { type Json, jcs } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { policySections } from '../policy/parse.ts'
import type { Any, Policy } from '../policy/policy.ts'
import { type DocumentSignature, parseSignatures } from './signatures.ts'

/** Machines by the name they have in this network: see `platformId`. */
export type ManifestPlatforms = {
  /** 32 bytes hex: the same machine has another name under another salt. */
  readonly salt: string
  readonly allow: readonly string[] | Any
  readonly deny: readonly string[]
  /** Machines that may serve several operators. */
  readonly shared: readonly string[]
}

/** Who may take part in a network, and until when. Normative: spec/admission-manifest.md. */
export type AdmissionManifest = {
  readonly version: 'veritee.admission-manifest.v1'
  /** So that a manifest which the same people sign for another network is not one for this. */
  readonly network: string
  /** Grows with each manifest of a network; whoever has seen one takes no older one. */
  readonly manifest_version: number
  /** Unix seconds. */
  readonly issued: number
  readonly expires: number
  /** One section for each role that takes part, as in a policy. */
  readonly roles: Policy['roles']
  readonly platforms: ManifestPlatforms
}

export type ManifestSignature = DocumentSignature

/** A manifest as it is written; nobody has verified its signatures. */
export interface SignedAdmissionManifest {
  readonly manifest: AdmissionManifest
  /** By key, each key once. */
  readonly signatures: readonly ManifestSignature[]
  /** Over the JCS form without signatures: the same whoever has signed. */
  readonly digest: string
  /** What is signed. */
  readonly document: { readonly [name: string]: Json }
}

export const manifestVersion = 'veritee.admission-manifest.v1'
export const maxAdmissionManifestLength: number = 1 << 20
/** A manifest that never ends could be shown for ever. */
export const maxManifestSeconds: number = 366 * 86_400
const maxPlatforms = 10_000

const shape = new Shape('admission_manifest_malformed')

/**
 * Reads an admission manifest: shape and bounds only; no signature is looked at.
 *
 * Numbers are integers; every member is required; sections are read as those of a policy, so that they accept no more than one may (rule S14);
 * sections agree on whether simulated evidence is wanted, so that a network is simulated or it is not (rule S15).
 * Throws `admission_manifest_malformed`, and `policy_invalid` for a section.
 */
export async function parseAdmissionManifest(text: string): Promise<SignedAdmissionManifest> {
  const limits = { maxLength: maxAdmissionManifestLength, maxDepth: 14, integersOnly: true } as const
  const value = parseDocument(text, limits, 'admission_manifest_malformed', 'the admission manifest')
  const o = shape.object(value, 'manifest', ['version', 'network', 'manifest_version', 'issued', 'expires', 'roles', 'platforms', 'signatures'])
  const manifest: AdmissionManifest = {
    version: shape.oneOf(o.version, 'version', [manifestVersion]),
    network: networkName(o.network, 'network'),
    manifest_version: atLeastOne(o.manifest_version, 'manifest_version'),
    issued: shape.integer(o.issued, 'issued'),
    expires: shape.integer(o.expires, 'expires'),
    roles: policySections(o.roles),
    platforms: platforms(o.platforms),
  }
  const { issued, expires } = manifest
  if (expires <= issued || expires - issued > maxManifestSeconds)
    throw shape.refuse('expires', `a time after ${issued} and at most ${maxManifestSeconds} s later`)
  if (new Set(Object.values(manifest.roles).map(({ simulated }) => simulated)).size > 1)
    throw shape.refuse('roles', 'the same word for simulated in every section: a network is simulated or it is not')
  const { signatures: _, ...document } = o as { readonly [name: string]: Json }
  return { manifest, signatures: parseSignatures(o.signatures, shape), digest: await jcsDigest(document), document }
}

/** The text of a manifest with signatures, as it is stored (JCS). */
export function manifestText(document: SignedAdmissionManifest['document'], signed: readonly ManifestSignature[]): string {
  return jcs({ ...document, signatures: signed.toSorted((a, b) => (a.key < b.key ? -1 : 1)) })
}

/** The policy that a manifest amounts to. What a policy has no place for, platforms by their names, is for `judgePlatform`. */
export function manifestPolicy({ roles }: AdmissionManifest): Policy {
  return { version: 'veritee.policy.v1', roles }
}

/** Letters, digits and `. _ -`, at most 64, the first a letter or digit. */
export function networkName(value: unknown, at: string, by: Shape = shape): string {
  const name = by.string(value, at, 64)
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw by.refuse(at, 'a name of letters, digits and . _ -')
  return name
}

function atLeastOne(value: unknown, at: string): number {
  const found = shape.integer(value, at)
  if (found < 1) throw shape.refuse(at, 'at least 1')
  return found
}

function platforms(value: unknown): ManifestPlatforms {
  const o = shape.object(value, 'platforms', ['salt', 'allow', 'deny', 'shared'])
  const list = (name: 'allow' | 'deny' | 'shared'): readonly string[] => {
    const ids = shape.array(o[name], `platforms.${name}`, maxPlatforms).map((id, i) => shape.hex(id, `platforms.${name}[${i}]`, 32))
    if (new Set(ids).size !== ids.length) throw shape.refuse(`platforms.${name}`, 'each machine once')
    return ids
  }
  const allow = o.allow === 'any' ? 'any' : list('allow')
  if (allow.length === 0) throw shape.refuse('platforms.allow', '"any", or at least one machine')
  return { salt: shape.hex(o.salt, 'platforms.salt', 32), allow, deny: list('deny'), shared: list('shared') }
}
