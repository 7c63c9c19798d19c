import { basename, dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Json, jcs } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type Role, roles } from 'veritee/policy'
import { parseRelease, type ReleaseStatement, type ReleaseTrust, signRelease, verifyRelease } from 'veritee/release'
import { gramineSigner, measureEnclave, measurementsText, parseInputs, parseMeasurements } from '../../deploy/release/measure.ts'
import { rebuildRelease } from '../../deploy/release/rebuild.ts'
import { sourceTree } from '../../deploy/release/source-tree.ts'
import { readPublisherKey } from '../../models/sealing/keys.ts'
import { nodeFiles, publish, writeNew } from '../../process/files.ts'
import type { Command } from '../command.ts'

const help = `veriteed release: what the makers of a release say of it (spec/release-statement.md)

  veriteed release measure --inputs FILE... --out FILE
      writes measurements.json: of each enclave the digest of all it was made from, and MRENCLAVE where gramine-sgx-sign is installed
  veriteed release create --measurements FILE --product NAME --release VERSION --commit HEX --sequence N --out FILE
                     [--withdraw VERSION]... [--svn-floor ROLE=N]...
      writes a statement without signatures
  veriteed release sign FILE --key FILE
      adds a signature (the key is of veriteed manifest keygen); several signers sign one after the other, in any order
  veriteed release verify FILE --product NAME --signer HEX... --threshold N --max-age SECONDS [--minimum-sequence N] [--measurements FILE]
                     [--rebuild DIR --inputs FILE... [--anchors FILE] [--root DIR --node FILE]]
      verifies signatures, age and withdrawal; with --measurements, of your own build, that the release is what you built.
      --rebuild builds it from DIR, a checkout of its commit in which npm ci has run, with the inputs and anchors that its makers published,
      and names the first difference; --root is the file system of the base image and --node its Node, without which those are not compared.
      This runs the programs of the checkout

Every command takes --json: one document on stdout.
Exit codes: 0 done, 1 not genuine, not accepted or not what was built, 2 wrong usage, 3 something needed is unavailable.
`

const options = {
  inputs: { type: 'string', multiple: true },
  measurements: { type: 'string' },
  rebuild: { type: 'string' },
  anchors: { type: 'string' },
  root: { type: 'string' },
  node: { type: 'string' },
  product: { type: 'string' },
  release: { type: 'string' },
  commit: { type: 'string' },
  sequence: { type: 'string' },
  withdraw: { type: 'string', multiple: true },
  'svn-floor': { type: 'string', multiple: true },
  key: { type: 'string' },
  signer: { type: 'string', multiple: true },
  threshold: { type: 'string' },
  'max-age': { type: 'string' },
  'minimum-sequence': { type: 'string' },
  out: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values']
type Action = 'measure' | 'create' | 'sign' | 'verify'

const allowed: { readonly [A in Action]: readonly (keyof typeof options)[] } = {
  measure: ['inputs', 'out'],
  create: ['measurements', 'product', 'release', 'commit', 'sequence', 'withdraw', 'svn-floor', 'out'],
  sign: ['key'],
  verify: ['product', 'signer', 'threshold', 'max-age', 'minimum-sequence', 'measurements', 'rebuild', 'inputs', 'anchors', 'root', 'node'],
}
const actions: { readonly [A in Action]: (values: Values, file: string) => Promise<object> } = { measure, create, sign, verify }

export const command: Command = {
  run: async (args) => {
    const { action, file, values } = read(args)
    if (values.help || action === null) {
      process.stdout.write(help)
      return values.help ? 0 : 2
    }
    const result = await actions[action](values, file)
    const lines = Object.entries(result).map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    process.stdout.write(`${values.json ? JSON.stringify(result, null, 2) : lines.join('\n')}\n`)
    return 0
  },
}

function read(args: readonly string[]): { readonly action: Action | null; readonly file: string; readonly values: Values } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    const [name, file = '', ...more] = positionals
    if (name === undefined || values.help) return { action: null, file: '', values }
    if (!Object.hasOwn(allowed, name)) throw new TypeError(`unknown action ${JSON.stringify(name.slice(0, 40))}; see veriteed release --help`)
    const action = name as Action
    for (const given of Object.keys(values))
      if (!(allowed[action] as readonly string[]).includes(given) && given !== 'json' && given !== 'help')
        throw new TypeError(`--${given} is not an option of release ${action}`)
    const takesFile = action === 'sign' || action === 'verify'
    if (more.length > 0 || (file !== '') !== takesFile) throw new TypeError(`release ${action}: expected ${takesFile ? 'one file' : 'no file'}`)
    return { action, file, values }
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function measure(values: Values): Promise<object> {
  const out = demand(values.out, 'out')
  if (values.inputs === undefined) throw fail('usage', 'expected --inputs, as veriteed manifest render writes them')
  const found = []
  for (const path of values.inputs) found.push(await measureEnclave(parseInputs(await nodeFiles.readText(path)), gramineSigner()))
  await publish(dirname(out), { [basename(out)]: measurementsText(found) })
  const missing = found.filter(({ mrenclave }) => mrenclave === null).map(({ role }) => role)
  return {
    file: out,
    enclaves: found.length,
    mrenclave:
      missing.length === 0
        ? 'computed'
        : `missing for ${missing.join(', ')}: gramine-sgx-sign is not installed, or not of the Gramine that the manifest names`,
  }
}

async function create(values: Values): Promise<object> {
  const out = demand(values.out, 'out')
  const enclaves = parseMeasurements(await nodeFiles.readText(demand(values.measurements, 'measurements')))
  const text = jcs({
    version: 'veritee.release-statement.v1',
    product: demand(values.product, 'product'),
    sequence: count(values.sequence, 'sequence'),
    issued: Math.floor(Date.now() / 1000),
    release: demand(values.release, 'release'),
    commit: demand(values.commit, 'commit'),
    enclaves: enclaves as unknown as Json,
    svn_floor: floors(values['svn-floor'] ?? []),
    withdrawn: values.withdraw ?? [],
    signatures: [],
  })
  const { digest, statement } = await parseRelease(text)
  await writeNew(out, `${text}\n`)
  return { file: out, digest, release: statement.release, sequence: statement.sequence }
}

async function sign(values: Values, file: string): Promise<object> {
  const key = await readPublisherKey(demand(values.key, 'key'))
  const text = await signRelease(await nodeFiles.readText(file), key)
  await publish(dirname(file), { [basename(file)]: `${text}\n` })
  const { digest, signatures } = await parseRelease(text)
  return { file, digest, signed_by: signatures.map((signature) => signature.key) }
}

async function verify(values: Values, file: string): Promise<object> {
  for (const name of ['inputs', 'anchors', 'root', 'node'] as const)
    if (values[name] !== undefined && values.rebuild === undefined) throw fail('usage', `--${name} goes with --rebuild`)
  const { statement, digest, signers } = await verifyRelease(await nodeFiles.readText(file), trustOf(values), new Date())
  const { release, commit, sequence, issued, withdrawn, enclaves } = statement
  if (values.measurements !== undefined) {
    const own = parseMeasurements(await nodeFiles.readText(values.measurements))
    for (const built of own) compare(built, enclaves as unknown as readonly Readonly<Record<string, unknown>>[], release)
  }
  const compared = values.measurements === undefined ? 'not compared' : 'equal to what you built'
  const rebuilt = values.rebuild === undefined ? compared : await rebuild(values, statement)
  return { verified: true, digest, release, commit, sequence, issued: new Date(issued * 1000).toISOString(), withdrawn, signers, rebuilt }
}

async function rebuild(values: Values, statement: ReleaseStatement): Promise<object> {
  const { inputs = [], anchors, root, node } = values
  if ((root === undefined) !== (node === undefined)) throw fail('usage', '--root and --node go together: both are of the base image')
  const texts = await Promise.all(inputs.map((path) => nodeFiles.readText(path)))
  const image = root === undefined || node === undefined ? null : { root, node }
  return rebuildRelease(statement, sourceTree(demand(values.rebuild, 'rebuild'), anchors === undefined ? null : resolve(anchors)), texts, image)
}

/** What somebody built must be in the statement, member by member; a measurement that nobody could compute here is not compared. */
function compare(built: Readonly<Record<string, unknown>>, stated: readonly Readonly<Record<string, unknown>>[], release: string): void {
  const same = (one: Readonly<Record<string, unknown>>): boolean =>
    Object.entries(built).every(([name, value]) => one[name] === value || (name === 'mrenclave' && value === null))
  if (!stated.some(same))
    throw fail(
      'release_not_reproduced',
      `what was built here is no enclave of release ${release}: ${String(built.role)} with inputs ${String(built.inputs)}`,
    )
}

function trustOf(values: Values): ReleaseTrust {
  const keys = values.signer ?? []
  for (const key of keys) if (!/^[0-9a-f]{64}$/.test(key)) throw fail('usage', '--signer: expected 64 lower-case hex digits')
  const threshold = count(values.threshold, 'threshold')
  if (threshold > new Set(keys).size) throw fail('usage', `--threshold: expected at most ${new Set(keys).size}, the number of --signer`)
  return {
    product: demand(values.product, 'product'),
    keys,
    threshold,
    maxReleaseAge: count(values['max-age'], 'max-age'),
    ...(values['minimum-sequence'] !== undefined && { minimumSequence: count(values['minimum-sequence'], 'minimum-sequence') }),
  }
}

function floors(said: readonly string[]): { [role: string]: number } {
  return Object.fromEntries(
    said.map((one) => {
      const [role = '', floor] = one.split('=')
      if (!roles.includes(role as Role)) throw fail('usage', `--svn-floor: expected ROLE=N with ${roles.join(', ')}`)
      return [role, count(floor, 'svn-floor')]
    }),
  )
}

function demand(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw fail('usage', `expected --${name}; see veriteed release --help`)
  return value
}

function count(value: string | undefined, name: string): number {
  const text = demand(value, name)
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw fail('usage', `--${name}: expected a whole number from 1, found ${JSON.stringify(text.slice(0, 40))}`)
  return Number(text)
}
