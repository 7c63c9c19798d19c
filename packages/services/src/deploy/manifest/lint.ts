import { parse as parseToml } from 'smol-toml'
import { fail } from 'veritee/errors'
import { type Role, roles } from 'veritee/policy'
import { type GramineVersion, paths } from '../layout.ts'
import type { ManifestFinding, ManifestFindingCode } from './finding.ts'
import type { BundleList } from './inputs.ts'
import { type DocumentedKeys, isTable, undocumentedKeys } from './keys.ts'
import { checkFiles } from './rules/files.ts'
import { checkLoader } from './rules/loader.ts'
import { checkMounts } from './rules/mounts.ts'
import { checkSettings } from './rules/settings.ts'

/** A manifest as the rules see it. */
export interface Linted {
  readonly role: Role
  readonly manifest: Readonly<Record<string, unknown>>
  /** What stands at a dotted path; undefined where nothing does. */
  at(path: string): unknown
  /** The items of an array at a path; none where there is none. */
  list(path: string): readonly unknown[]
  /** Reports what was found at a key. */
  refuse(code: ManifestFindingCode, key: string, expected: string, found?: unknown): void
  /** The bundle that the manifest must name, where the caller has it. */
  readonly bundle: BundleList | null
}

export interface LintOptions {
  readonly documented: DocumentedKeys
  /** Compares every file of the bundle by its hash; without it, paths only. */
  readonly bundle?: BundleList
}

export interface LintResult {
  readonly gramine: GramineVersion
  /** By the program in the arguments; null where they name none. */
  readonly role: Role | null
  /** In the order of the rules; none: nothing weakens the measurement. */
  readonly findings: readonly ManifestFinding[]
}

const maxLength = 4 << 20

/**
 * Judges the manifest of an enclave of ours: whatever is not what `renderManifest` writes for some inputs is a finding, most with a code of its own.
 * What it does not see: whether the hashes are those of good files. For the bundle `options.bundle` compares them; for Node and Gramine an auditor does.
 * Throws `enclave_manifest_malformed` for what is not TOML.
 */
export function lintManifest(text: string, { documented, bundle }: LintOptions): LintResult {
  const manifest = parseManifestToml(text)
  const findings: ManifestFinding[] = []
  const at = (path: string): unknown =>
    path.split('.').reduce<unknown>((value, name) => (isTable(value) && Object.hasOwn(value, name) ? value[name] : undefined), manifest)
  const list = (path: string): readonly unknown[] => {
    const value = at(path)
    return Array.isArray(value) ? value : []
  }
  const refuse: Linted['refuse'] = (code, key, expected, found = at(key)) => void findings.push({ code, key, expected, found: shown(found) })
  for (const key of undocumentedKeys(manifest, documented)) refuse('key_undocumented', key, `a key that Gramine ${documented.gramine} documents`)
  const role = roleOf(list('loader.argv'))
  if (role === null) refuse('role_unknown', 'loader.argv', `${paths.bundle}/ROLE.mjs among the arguments`)
  // Without a role the rules that need none still tell what they find.
  const linted: Linted = { role: role ?? 'worker', manifest, at, list, refuse, bundle: bundle ?? null }
  checkSettings(linted)
  checkLoader(linted)
  checkMounts(linted)
  checkFiles(linted)
  return { gramine: documented.gramine, role, findings }
}

function parseManifestToml(text: string): Readonly<Record<string, unknown>> {
  if (text.length > maxLength) throw fail('enclave_manifest_malformed', `expected at most ${maxLength} characters, found ${text.length}`)
  try {
    return parseToml(text, { maxDepth: 16 })
  } catch (cause) {
    const [line = ''] = (cause instanceof Error ? cause.message : '').split('\n')
    throw fail('enclave_manifest_malformed', `expected TOML: ${line.slice(0, 200)}`, cause)
  }
}

function roleOf(argv: readonly unknown[]): Role | null {
  return roles.find((role) => argv.includes(`${paths.bundle}/${role}.mjs`)) ?? null
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value, (_, member: unknown) => (typeof member === 'bigint' ? String(member) : member))
  return text.length > 160 ? `${text.slice(0, 157)}...` : text
}
