import { type DocumentSignature, parseSignatures } from '../admission/signatures.ts'
import { jcsDigest } from '../bytes/digest.ts'
import { type Json, jcs } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { type Role, roles } from '../policy/policy.ts'

/** One enclave of a release: what it was made of, and what the hardware says of it. */
export type ReleasedEnclave = {
  readonly role: Role
  /** Build of the engine for one kind of processor; null where the enclave has no engine. */
  readonly cpu_variant: string | null
  /** Release of Gramine. */
  readonly gramine: string
  readonly edmm: boolean
  /** Digests: of the inputs of the manifest, of the manifest's bytes, and of the list of the bundle. */
  readonly inputs: string
  readonly manifest: string
  readonly bundle: string
  /** 32 bytes hex; null where nobody has computed it, and then no evidence is this enclave's. */
  readonly mrenclave: string | null
  readonly isv_prod_id: number
  readonly isv_svn: number
}

/** What the makers of a release say of it. Normative: spec/release-statement.md. */
export type ReleaseStatement = {
  readonly version: 'veritee.release-statement.v1'
  readonly product: string
  /** Grows with each statement of a product; whoever has seen one takes no older one. */
  readonly sequence: number
  /** Unix seconds. */
  readonly issued: number
  /** Version and commit (40 or 64 hex digits) of the source. */
  readonly release: string
  readonly commit: string
  readonly enclaves: readonly ReleasedEnclave[]
  /** Lowest security version that is still good, for each role; a role that is absent has none. */
  readonly svn_floor: { readonly [R in Role]?: number }
  /** Versions that must not be relied on any more, whoever signed them once. */
  readonly withdrawn: readonly string[]
}

/** A statement as it is written; nobody has verified its signatures. */
export interface SignedRelease {
  readonly statement: ReleaseStatement
  readonly signatures: readonly DocumentSignature[]
  /** Over the JCS form without signatures: the same whoever has signed. */
  readonly digest: string
  /** What is signed. */
  readonly document: { readonly [name: string]: Json }
}

export const releaseVersion = 'veritee.release-statement.v1'
export const maxReleaseLength: number = 1 << 18
const maxEnclaves = 256
const maxWithdrawn = 256

const shape = new Shape('release_statement_malformed')

/** Reads a release statement: shape and bounds only; no signature is looked at. Throws `release_statement_malformed`. */
export async function parseRelease(text: string): Promise<SignedRelease> {
  const limits = { maxLength: maxReleaseLength, maxDepth: 6, integersOnly: true } as const
  const value = parseDocument(text, limits, 'release_statement_malformed', 'the release statement')
  const members = ['version', 'product', 'sequence', 'issued', 'release', 'commit', 'enclaves', 'svn_floor', 'withdrawn', 'signatures']
  const o = shape.object(value, 'statement', members)
  const enclaves = shape.array(o.enclaves, 'enclaves', maxEnclaves).map((item, i) => enclave(item, `enclaves[${i}]`))
  if (enclaves.length === 0) throw shape.refuse('enclaves', 'at least one')
  const named = enclaves.map(({ mrenclave }) => mrenclave).filter((one) => one !== null)
  // One measurement is one program: under two roles, evidence of one would pass for the other.
  if (new Set(named).size !== named.length) throw shape.refuse('enclaves', 'each measurement once')
  const floors = shape.object(o.svn_floor, 'svn_floor', [], roles)
  const withdrawn = shape.array(o.withdrawn, 'withdrawn', maxWithdrawn).map((item, i) => releaseName(item, `withdrawn[${i}]`))
  const statement: ReleaseStatement = {
    version: shape.oneOf(o.version, 'version', [releaseVersion]),
    product: productName(o.product, 'product'),
    sequence: atLeastOne(o.sequence, 'sequence'),
    issued: shape.integer(o.issued, 'issued'),
    release: releaseName(o.release, 'release'),
    commit: commitName(o.commit, 'commit'),
    enclaves,
    svn_floor: Object.fromEntries(Object.entries(floors).map(([role, floor]) => [role, shape.integer(floor, `svn_floor.${role}`, 65_535)])),
    withdrawn,
  }
  if (new Set(withdrawn).size !== withdrawn.length) throw shape.refuse('withdrawn', 'each version once')
  const { signatures: _, ...document } = o as { readonly [name: string]: Json }
  return { statement, signatures: parseSignatures(o.signatures, shape), digest: await jcsDigest(document), document }
}

/** The text of a statement with signatures, as it is stored (JCS). */
export function releaseText(document: SignedRelease['document'], signatures: readonly DocumentSignature[]): string {
  return jcs({ ...document, signatures })
}

function enclave(value: unknown, at: string): ReleasedEnclave {
  const o = shape.object(value, at, ['role', 'cpu_variant', 'gramine', 'edmm', 'inputs', 'manifest', 'bundle', 'mrenclave', 'isv_prod_id', 'isv_svn'])
  return {
    role: shape.oneOf(o.role, `${at}.role`, roles),
    cpu_variant: shape.nullableString(o.cpu_variant, `${at}.cpu_variant`, 32),
    gramine: shape.string(o.gramine, `${at}.gramine`, 32),
    edmm: shape.boolean(o.edmm, `${at}.edmm`),
    inputs: shape.digest(o.inputs, `${at}.inputs`),
    manifest: shape.digest(o.manifest, `${at}.manifest`),
    bundle: shape.digest(o.bundle, `${at}.bundle`),
    mrenclave: o.mrenclave === null ? null : shape.hex(o.mrenclave, `${at}.mrenclave`, 32),
    isv_prod_id: shape.integer(o.isv_prod_id, `${at}.isv_prod_id`, 65_535),
    isv_svn: shape.integer(o.isv_svn, `${at}.isv_svn`, 65_535),
  }
}

function matching(value: unknown, at: string, maxLength: number, pattern: RegExp, expected: string): string {
  const text = shape.string(value, at, maxLength)
  if (!pattern.test(text)) throw shape.refuse(at, expected)
  return text
}

/** Letters, digits and `. _ -`, at most 64, the first a letter or digit. */
export function productName(value: unknown, at: string): string {
  return matching(value, at, 64, /^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'a name of letters, digits and . _ -')
}

function releaseName(value: unknown, at: string): string {
  return matching(value, at, 64, /^[0-9A-Za-z][0-9A-Za-z.+-]*$/, 'a version such as 1.2.3')
}

function commitName(value: unknown, at: string): string {
  return matching(value, at, 64, /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/, '40 or 64 lower-case hex digits')
}

function atLeastOne(value: unknown, at: string): number {
  const found = shape.integer(value, at)
  if (found < 1) throw shape.refuse(at, 'at least 1')
  return found
}
