import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { parseArgs } from 'node:util'
import { fail, VeriteeError } from 'veritee/errors'
import { parseManifest, readKeyId } from 'veritee/seal'
import { readManifest, readManifestText } from '../../enclave/sealed/manifest.ts'
import { openSealedModel } from '../../enclave/sealed/open.ts'
import { resolveModel } from '../../models/locate.ts'
import { showProgress } from '../../models/progress.ts'
import { makeModelKey, makePublisherKey, readModelKey, readPublisherKey } from '../../models/sealing/keys.ts'
import { sealModel } from '../../models/sealing/seal.ts'
import { writePlain } from '../../models/sealing/write-plain.ts'
import type { Command } from '../command.ts'
import { keyActions, keysHelp, runKeyAction } from './model-keys.ts'

const help = `veriteed model: sealed models (spec/sealed-model.md)

  veriteed model pull hf:OWNER/REPO[@REVISION]/PATH/FILE.gguf
      downloads a model into the cache, or goes on where it ended, and hashes it there: the hash must be the one that the hub stated (docs/models.md)
  veriteed model keygen --publisher FILE | --model-key FILE
      makes an Ed25519 publisher key, or a model key of 32 bytes, in a new file of mode 0600
  veriteed model seal FILE... --out DIR | --single FILE --name NAME --model-version N --key-id REPO/TYPE/TAG --key FILE
                     --publisher-key FILE [--licence SPDX] [--template-digest sha256:HEX]
      seals files into a new directory, or into one new file, in the order given; what was interrupted goes on when the command is repeated
  veriteed model inspect MODEL
      shows the manifest; nothing is verified. MODEL is the directory or the single file
  veriteed model verify MODEL --publisher HEX... [--minimum-version N] [--key FILE]
      verifies the manifest, and with the key every byte
  veriteed model open MODEL --publisher HEX... [--minimum-version N] --key FILE --file NAME --out FILE
      writes one plain file; an existing file is never overwritten
${keysHelp}
Every command takes --json: one document on stdout. Progress goes to stderr.
Exit codes: 0 done, 1 not genuine or not accepted, 2 wrong usage, 3 something needed is unavailable.
`

const options = {
  publisher: { type: 'string', multiple: true },
  'model-key': { type: 'string' },
  'publisher-key': { type: 'string' },
  key: { type: 'string' },
  'key-id': { type: 'string' },
  name: { type: 'string' },
  'model-version': { type: 'string' },
  'minimum-version': { type: 'string' },
  'template-digest': { type: 'string' },
  licence: { type: 'string' },
  file: { type: 'string' },
  out: { type: 'string' },
  single: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values']

const allowed: Readonly<Record<string, readonly (keyof typeof options)[]>> = {
  pull: [],
  keygen: ['publisher', 'model-key'],
  seal: ['out', 'single', 'name', 'model-version', 'key-id', 'key', 'publisher-key', 'licence', 'template-digest'],
  inspect: [],
  verify: ['publisher', 'minimum-version', 'key'],
  open: ['publisher', 'minimum-version', 'key', 'file', 'out'],
}

export const command: Command = {
  run: async (args) => {
    const atBroker = keyActions.find((one) => one === args[0])
    if (atBroker !== undefined && !args.includes('--help')) return print(await runKeyAction(atBroker, args.slice(1)))
    const { action, rest, values } = read(atBroker === undefined ? args : ['--help'])
    if (values.help || action === undefined) {
      process.stdout.write(help)
      return values.help ? 0 : 2
    }
    return print({ json: values.json, result: await runAction(action, rest, values) })
  },
}

function print({ json, result }: { readonly json: boolean; readonly result: object }): number {
  const text = json
    ? JSON.stringify(result, null, 2)
    : Object.entries(result)
        .map(([name, value]) => line(name, value))
        .join('\n')
  process.stdout.write(`${text}\n`)
  return 0
}

function read(args: readonly string[]): { readonly action: string | undefined; readonly rest: readonly string[]; readonly values: Values } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    const [action, ...rest] = positionals
    if (action !== undefined) {
      const names = Object.hasOwn(allowed, action) ? allowed[action] : undefined
      if (names === undefined) throw new TypeError(`unknown action ${JSON.stringify(action)}; see veriteed model --help`)
      const given = Object.keys(values).filter((name) => name !== 'json' && name !== 'help') as (keyof typeof options)[]
      for (const name of given) if (!names.includes(name)) throw new TypeError(`--${name} is not an option of model ${action}`)
    }
    return { action, rest, values }
  } catch (cause) {
    throw cause instanceof VeriteeError ? cause : fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function runAction(action: string, rest: readonly string[], values: Values): Promise<object> {
  if (action === 'pull') return pull(rest)
  if (action === 'keygen') return keygen(values, rest)
  if (action === 'seal') return seal(values, rest)
  const [model, ...more] = rest
  if (model === undefined || more.length > 0) throw fail('usage', 'expected one sealed model, a directory or a single file')
  if (action === 'inspect') return { verified: false, manifest: parseManifest(await readManifestText(model)) }
  return action === 'verify' ? verify(values, model) : openOne(values, model)
}

/** What lies in the cache is hashed again: a disk that was written by others since is not believed. */
async function pull(rest: readonly string[]): Promise<object> {
  const [spec = '', ...more] = rest
  if (!spec.startsWith('hf:') || more.length > 0) throw fail('usage', 'expected one model of a hub, hf:OWNER/REPO[@REVISION]/PATH/FILE.gguf')
  const progress = showProgress('downloading', process.stderr)
  try {
    const { path, sha256: stated } = await resolveModel(spec, { onProgress: progress.update })
    const hash = createHash('sha256')
    for await (const part of createReadStream(path)) hash.update(part as Buffer)
    const found = hash.digest('hex')
    if (found !== stated)
      throw fail('model_hash_mismatch', `${path}: expected ${stated}, as the hub stated, found ${found}; remove the file and pull it again`)
    return { model: spec, file: path, sha256: `sha256:${found}` }
  } finally {
    progress.end()
  }
}

async function keygen(values: Values, rest: readonly string[]): Promise<object> {
  const [path, ...more] = values.publisher ?? []
  const { 'model-key': modelKey } = values
  if (rest.length > 0 || more.length > 0 || (path === undefined) === (modelKey === undefined))
    throw fail('usage', 'expected one of --publisher FILE and --model-key FILE')
  if (path !== undefined) return { publisher: await makePublisherKey(path), file: path }
  await makeModelKey(demand(modelKey, 'model-key'))
  return { file: modelKey }
}

async function seal(values: Values, files: readonly string[]): Promise<object> {
  if (files.length === 0) throw fail('usage', 'expected at least one file to seal')
  const keyId = demand(values['key-id'], 'key-id')
  try {
    readKeyId(keyId)
  } catch (cause) {
    throw fail('usage', '--key-id: expected a name such as models/demo/1', cause)
  }
  const { out, single } = values
  if ((out === undefined) === (single === undefined)) throw fail('usage', 'expected one of --out DIR and --single FILE; see veriteed model --help')
  const target = single === undefined ? demand(out, 'out') : demand(single, 'single')
  const form = single === undefined ? 'directory' : 'file'
  const facts = { name: demand(values.name, 'name'), modelVersion: count(demand(values['model-version'], 'model-version'), 'model-version'), keyId }
  const publisher = await readPublisherKey(demand(values['publisher-key'], 'publisher-key'))
  const modelKey = await readModelKey(demand(values.key, 'key'))
  const progress = showProgress('sealing', process.stderr)
  try {
    const text = await sealModel({
      ...facts,
      files,
      out: target,
      form,
      modelKey,
      publisher,
      chatTemplateDigest: values['template-digest'] ?? null,
      licence: values.licence ?? null,
      created: Math.floor(Date.now() / 1000),
      onProgress: progress.update,
    })
    return { [form]: target, manifest: parseManifest(text) }
  } finally {
    modelKey.fill(0)
    progress.end()
  }
}

async function verify(values: Values, model: string): Promise<object> {
  const trust = trustOf(values)
  const manifest = await readManifest(model, trust)
  const checked = { model, name: manifest.name, model_version: manifest.model_version, publisher: manifest.publisher }
  if (values.key === undefined) return { ...checked, verified: 'manifest', files: 'not verified: that needs --key' }
  const modelKey = await readModelKey(values.key)
  const progress = showProgress('verifying', process.stderr)
  let wipe = (): void => undefined
  try {
    const opened = await openSealedModel(model, modelKey, trust)
    wipe = opened.wipe
    const totalBytes = opened.files.reduce((sum, { size }) => sum + size, 0)
    let receivedBytes = 0
    for (const file of opened.files)
      for await (const part of file.read()) {
        receivedBytes += part.length
        progress.update({ receivedBytes, totalBytes })
      }
    return { ...checked, verified: 'manifest and every byte', files: manifest.files.map(({ name, sha256, size }) => ({ name, sha256, size })) }
  } finally {
    wipe()
    modelKey.fill(0)
    progress.end()
  }
}

async function openOne(values: Values, model: string): Promise<object> {
  const out = demand(values.out, 'out')
  const name = demand(values.file, 'file')
  const modelKey = await readModelKey(demand(values.key, 'key'))
  let wipe = (): void => undefined
  try {
    const opened = await openSealedModel(model, modelKey, trustOf(values))
    wipe = opened.wipe
    const file = opened.files.find((one) => one.name === name)
    if (file === undefined) throw fail('usage', `expected one of ${opened.files.map((one) => one.name).join(', ')}, found ${name}`)
    await writePlain(out, file.read())
    return { file: out, sha256: `sha256:${file.sha256}`, size: file.size }
  } finally {
    wipe()
    modelKey.fill(0)
  }
}

function trustOf(values: Values): { readonly publishers: readonly string[]; readonly minimumVersion: number } {
  const publishers = values.publisher ?? []
  if (publishers.length === 0 || !publishers.every((key) => /^[0-9a-f]{64}$/.test(key)))
    throw fail('usage', '--publisher: expected the public key of each publisher you trust, 64 lower-case hex digits')
  const minimum = values['minimum-version']
  return { publishers, minimumVersion: minimum === undefined ? 1 : count(minimum, 'minimum-version') }
}

function demand(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw fail('usage', `expected --${name}; see veriteed model --help`)
  return value
}

function count(text: string, name: string): number {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) throw fail('usage', `--${name}: expected a whole number from 1, found ${JSON.stringify(text)}`)
  return Number(text)
}

function line(name: string, value: unknown): string {
  return `${name}: ${typeof value === 'object' ? JSON.stringify(value, null, 2) : String(value)}`
}
