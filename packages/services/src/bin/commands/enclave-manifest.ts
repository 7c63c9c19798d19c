import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { type Role, roles } from 'veritee/policy'
import { type GramineVersion, gramineVersions } from '../../deploy/layout.ts'
import { manifestFindings } from '../../deploy/manifest/finding.ts'
import { parseBundleList } from '../../deploy/manifest/inputs.ts'
import { readDocumentedKeys } from '../../deploy/manifest/keys.ts'
import { lintManifest } from '../../deploy/manifest/lint.ts'
import { makeManifest } from '../../deploy/manifest/make.ts'
import { readGramineSize, sizeEnclave } from '../../deploy/sizing.ts'
import { nodeFiles } from '../../process/files.ts'

export const enclaveManifestHelp = `Manifests of enclaves, which Gramine measures (docs/enclave-manifests.md):

  veriteed manifest render --role ROLE [--gramine 1.9|1.8] [--bundle DIR] [--node FILE] [--root DIR] [--gramine-directory DIR]
                     [--weights SIZE] [--context SIZE] [--threads N] [--edmm] [--isvsvn N] [--inputs FILE]
      writes the manifest of a role to standard output; every file in it by its hash, so it is run in the image.
      --weights and --context say what a worker needs (veriteed doctor --size MODEL computes them), as 4G or 512M.
      --inputs writes what the manifest was made of to a file, whose digest names the build
  veriteed manifest lint FILE [--gramine 1.9|1.8] [--bundle DIR]
      refuses what would weaken the measurement, each with a code of its own; with --bundle it compares the hashes of the program too
`

const options = {
  role: { type: 'string' },
  gramine: { type: 'string', default: '1.9' },
  bundle: { type: 'string' },
  node: { type: 'string' },
  root: { type: 'string', default: '/' },
  'gramine-directory': { type: 'string' },
  weights: { type: 'string', default: '0' },
  context: { type: 'string', default: '0' },
  threads: { type: 'string' },
  edmm: { type: 'boolean', default: false },
  isvsvn: { type: 'string', default: '1' },
  inputs: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values']

/** `veriteed manifest render` and `lint`; null for other words, which are of admission manifests. */
export async function enclaveManifestCommand(args: readonly string[]): Promise<number | null> {
  const [action, ...rest] = args
  if (action !== 'render' && action !== 'lint') return null
  const { values, positionals } = read(rest)
  if (values.help) {
    process.stdout.write(enclaveManifestHelp)
    return 0
  }
  return action === 'render' ? render(values, positionals) : lint(values, positionals)
}

function read(args: readonly string[]): { readonly values: Values; readonly positionals: readonly string[] } {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function render(values: Values, positionals: readonly string[]): Promise<number> {
  if (positionals.length > 0) throw fail('usage', 'manifest render: expected options only')
  const role = roleOf(values.role)
  const threads = count(values.threads ?? (role === 'worker' ? '1' : '0'), 'threads', 256)
  const sizing = sizeEnclave(role, { weights: bytes(values.weights, 'weights'), context: bytes(values.context, 'context'), threads }, values.edmm)
  const { text, inputs, digest } = await makeManifest(
    { root: values.root, bundle: values.bundle ?? 'dist/enclave', node: values.node ?? process.execPath },
    {
      role,
      gramine: versionOf(values.gramine),
      sizing,
      isvsvn: count(values.isvsvn, 'isvsvn', 65_535),
      ...(values['gramine-directory'] !== undefined && { gramineDirectory: values['gramine-directory'] }),
    },
  )
  if (values.inputs !== undefined) await writeFile(values.inputs, `${JSON.stringify(inputs, null, 2)}\n`)
  process.stdout.write(values.json ? `${JSON.stringify({ digest, inputs, manifest: text }, null, 2)}\n` : text)
  process.stderr.write(`${role}: ${Object.keys(inputs.files).length} files, inputs ${digest}\n`)
  return 0
}

async function lint(values: Values, positionals: readonly string[]): Promise<number> {
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw fail('usage', 'manifest lint: expected one file')
  const bundle = values.bundle === undefined ? null : parseBundleList(await nodeFiles.readText(join(values.bundle, 'bundle.json')))
  const documented = await readDocumentedKeys(versionOf(values.gramine))
  const result = lintManifest(await nodeFiles.readText(file), { documented, ...(bundle !== null && { bundle }) })
  const { findings, role } = result
  if (values.json) process.stdout.write(`${JSON.stringify({ ok: findings.length === 0, ...result }, null, 2)}\n`)
  else {
    for (const { code, key, expected, found } of findings)
      process.stdout.write(`${code}: ${key}: expected ${expected}; found ${found}\n  ${manifestFindings[code]}\n`)
    if (findings.length === 0) process.stdout.write(`${file}: a ${role} under Gramine ${result.gramine}, nothing that weakens its measurement\n`)
  }
  return findings.length === 0 ? 0 : 1
}

function roleOf(value: string | undefined): Role {
  const role = roles.find((one) => one === value)
  if (role === undefined) throw fail('usage', `--role: expected ${roles.join(', ')}`)
  return role
}

function versionOf(value: string): GramineVersion {
  const version = gramineVersions.find((one) => one === value)
  if (version === undefined) throw fail('usage', `--gramine: expected ${gramineVersions.join(' or ')}`)
  return version
}

function bytes(value: string, name: string): number {
  const size = readGramineSize(value)
  if (size === null) throw fail('usage', `--${name}: expected a size such as 4G, 512M or bytes`)
  return size
}

function count(value: string, name: string, max: number): number {
  if (!/^(?:0|[1-9][0-9]{0,5})$/.test(value) || Number(value) > max) throw fail('usage', `--${name}: expected a whole number of at most ${max}`)
  return Number(value)
}
