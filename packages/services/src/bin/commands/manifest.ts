import { randomBytes } from 'node:crypto'
import { basename, dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { type AdmissionTrust, parseAdmissionManifest, parseAdmissionTrust, signAdmissionManifest, verifyAdmissionManifest } from 'veritee/admission'
import { type Json, jcs, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { parsePolicy } from 'veritee/policy'
import { makePublisherKey, readPublisherKey } from '../../models/sealing/keys.ts'
import { nodeFiles, publish, writeNew } from '../../process/files.ts'
import type { Command } from '../command.ts'
import { enclaveManifestCommand, enclaveManifestHelp } from './enclave-manifest.ts'

const help = `veriteed manifest: two kinds of documents. Who may take part in a network (spec/admission-manifest.md):

  veriteed manifest keygen --key FILE
      makes an Ed25519 key of a signer, or of an operator, in a new file of mode 0600
  veriteed manifest create --policy FILE --network NAME --manifest-version N --days N --out FILE
                     [--salt HEX] [--allow-platform ID]... [--deny-platform ID]... [--shared-platform ID]...
      writes a manifest without signatures: the sections of a policy, and what a policy has no place for.
      A network keeps its salt: without --salt a new one is drawn, under which every machine has another name
  veriteed manifest sign FILE --key FILE
      adds a signature; several signers sign one after the other, in any order
  veriteed manifest verify FILE --network NAME --signer HEX... --threshold N [--minimum-version N]
      verifies the signatures and that it is in force now
  veriteed manifest inspect FILE
      shows what stands in it; nothing is verified

${enclaveManifestHelp}
Every command takes --json: one document on stdout.
Exit codes: 0 done, 1 not genuine or not accepted, 2 wrong usage, 3 something needed is unavailable.
`

const options = {
  key: { type: 'string' },
  policy: { type: 'string' },
  network: { type: 'string' },
  'manifest-version': { type: 'string' },
  days: { type: 'string' },
  salt: { type: 'string' },
  'allow-platform': { type: 'string', multiple: true },
  'deny-platform': { type: 'string', multiple: true },
  'shared-platform': { type: 'string', multiple: true },
  out: { type: 'string' },
  signer: { type: 'string', multiple: true },
  threshold: { type: 'string' },
  'minimum-version': { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values']
type Action = 'keygen' | 'create' | 'sign' | 'verify' | 'inspect'

const allowed: { readonly [A in Action]: readonly (keyof typeof options)[] } = {
  keygen: ['key'],
  create: ['policy', 'network', 'manifest-version', 'days', 'salt', 'allow-platform', 'deny-platform', 'shared-platform', 'out'],
  sign: ['key'],
  verify: ['network', 'signer', 'threshold', 'minimum-version'],
  inspect: [],
}

const actions: { readonly [A in Action]: (values: Values, file: string) => Promise<object> } = { keygen, create, sign, verify, inspect }

export const command: Command = {
  run: async (args) => {
    const done = await enclaveManifestCommand(args)
    if (done !== null) return done
    const { action, file, values } = read(args)
    if (values.help || action === null) {
      process.stdout.write(help)
      return values.help ? 0 : 2
    }
    const result = await actions[action](values, file)
    const text = values.json
      ? JSON.stringify(result, null, 2)
      : Object.entries(result)
          .map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value, null, 2) : String(value)}`)
          .join('\n')
    process.stdout.write(`${text}\n`)
    return 0
  },
}

function read(args: readonly string[]): { readonly action: Action | null; readonly file: string; readonly values: Values } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    const [name, ...rest] = positionals
    if (name === undefined || values.help) return { action: null, file: '', values }
    if (!Object.hasOwn(allowed, name)) throw new TypeError(`unknown action ${JSON.stringify(name.slice(0, 40))}; see veriteed manifest --help`)
    const action = name as Action
    for (const given of Object.keys(values))
      if (!(allowed[action] as readonly string[]).includes(given) && given !== 'json' && given !== 'help')
        throw new TypeError(`--${given} is not an option of manifest ${action}`)
    const wanted = action === 'keygen' || action === 'create' ? 0 : 1
    if (rest.length !== wanted) throw new TypeError(`manifest ${action}: expected ${wanted === 0 ? 'no file' : 'one file'}`)
    return { action, file: rest[0] ?? '', values }
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function keygen({ key }: Values): Promise<object> {
  const file = demand(key, 'key')
  return { public_key: await makePublisherKey(file), file }
}

async function create(values: Values): Promise<object> {
  const out = demand(values.out, 'out')
  const { roles } = parsePolicy(await nodeFiles.readText(demand(values.policy, 'policy')))
  const issued = Math.floor(Date.now() / 1000)
  const text = jcs({
    version: 'veritee.admission-manifest.v1',
    network: demand(values.network, 'network'),
    manifest_version: count(values['manifest-version'], 'manifest-version'),
    issued,
    expires: issued + count(values.days, 'days') * 86_400,
    roles: roles as unknown as Json,
    platforms: {
      salt: values.salt ?? randomBytes(32).toString('hex'),
      allow: values['allow-platform'] ?? 'any',
      deny: values['deny-platform'] ?? [],
      shared: values['shared-platform'] ?? [],
    },
    signatures: [],
  })
  const { digest, manifest } = await parseAdmissionManifest(text)
  await writeNew(out, `${text}\n`)
  return { file: out, digest, network: manifest.network, manifest_version: manifest.manifest_version, salt: manifest.platforms.salt }
}

async function sign(values: Values, file: string): Promise<object> {
  const key = await readPublisherKey(demand(values.key, 'key'))
  const text = await signAdmissionManifest(await nodeFiles.readText(file), key)
  await publish(dirname(file), { [basename(file)]: `${text}\n` })
  const { digest, signatures } = await parseAdmissionManifest(text)
  return { file, digest, signed_by: signatures.map((signature) => signature.key) }
}

async function verify(values: Values, file: string): Promise<object> {
  const { manifest, digest, signers } = await verifyAdmissionManifest(await nodeFiles.readText(file), trustOf(values), new Date())
  const { network, manifest_version, issued, expires, roles } = manifest
  return { verified: true, digest, network, manifest_version, issued: time(issued), expires: time(expires), roles: Object.keys(roles), signers }
}

async function inspect(_: Values, file: string): Promise<object> {
  const { manifest, digest, signatures } = await parseAdmissionManifest(await nodeFiles.readText(file))
  return { verified: false, digest, signatures: signatures.map(({ key }) => key), manifest }
}

function trustOf(values: Values): AdmissionTrust {
  return parseAdmissionTrust(
    {
      network: demand(values.network, 'network'),
      keys: values.signer ?? [],
      threshold: count(values.threshold, 'threshold'),
      minimum_version: values['minimum-version'] === undefined ? 1 : count(values['minimum-version'], 'minimum-version'),
    },
    'the command line',
    new Shape('usage'),
  )
}

function time(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}

function demand(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw fail('usage', `expected --${name}; see veriteed manifest --help`)
  return value
}

function count(value: string | undefined, name: string): number {
  const text = demand(value, name)
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw fail('usage', `--${name}: expected a whole number from 1, found ${JSON.stringify(text.slice(0, 40))}`)
  return Number(text)
}
