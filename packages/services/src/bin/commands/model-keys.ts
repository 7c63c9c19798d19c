import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { parsePolicy } from 'veritee/policy'
import { checkKey, parseManifest } from 'veritee/seal'
import { readManifestText } from '../../enclave/sealed/manifest.ts'
import { readModelKey } from '../../models/sealing/keys.ts'
import { type BrokerAdmin, openBrokerAdmin } from '../../owner/broker-admin.ts'
import { nodeFiles } from '../../process/files.ts'
import { readAdminOptions } from './admin-options.ts'

/** The actions of `veriteed model` that go to a key broker. */
export const keyActions = ['upload', 'rotate', 'revoke', 'resources', 'audit'] as const
type Action = (typeof keyActions)[number]

export const keysHelp = `  veriteed model upload [MODEL] --key FILE --release-policy FILE BROKER  puts the key of a sealed model with the terms of its release
  veriteed model rotate [MODEL] --key FILE [--release-policy FILE] BROKER  a new key; the old terms, or new ones
  veriteed model revoke [MODEL] BROKER                                   the key is released to nobody from here on
  veriteed model resources BROKER                                        what the broker has, without values
  veriteed model audit BROKER                                            its trail: releases and changes, then refusals
      BROKER:  --broker URL            the admin interface, https only
               --policy FILE           what you accept as a broker: the section broker is judged before anything is sent
               --release FILE ...      a release statement, where the policy demands one; FILE.tlog-proof shows that it is in a log; without it the broker is asked
               --root FILE             a further root certificate, such as a simulator's
               --admin-token-file FILE the credential; or VERITEE_ADMIN_TOKEN
      MODEL is the sealed model: its key_id names the key, and a key that is not its key is refused here. Without MODEL: --resource REPO/TYPE/TAG
      --release-policy FILE            to whom the key is released: the section worker
      --evidence veritee|quote         veritee (default): evidence must name the role; quote: a quote is enough, as Trustee's clients send it
`

const options = {
  broker: { type: 'string' },
  policy: { type: 'string' },
  release: { type: 'string', multiple: true },
  root: { type: 'string' },
  'admin-token-file': { type: 'string' },
  key: { type: 'string' },
  resource: { type: 'string' },
  'release-policy': { type: 'string' },
  evidence: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values']

const own: { readonly [A in Action]: readonly (keyof typeof options)[] } = {
  upload: ['key', 'resource', 'release-policy', 'evidence'],
  rotate: ['key', 'resource', 'release-policy', 'evidence'],
  revoke: ['resource'],
  resources: [],
  audit: [],
}

/**
 * Runs one action at a broker and gives what is printed. The broker is verified under the caller's policy before key or credential leave this machine
 * (rule S13). Throws `usage`, `sealed_key_wrong`, and what `openBrokerAdmin` and its methods throw.
 */
export async function runKeyAction(action: Action, args: readonly string[]): Promise<{ readonly json: boolean; readonly result: object }> {
  const { values, model } = read(action, args)
  const key = action === 'upload' || action === 'rotate' ? await readModelKey(demand(values.key, 'key')) : null
  try {
    const resource = action === 'resources' || action === 'audit' ? null : await resourceOf(model, values.resource, key)
    const admin = await open(values)
    try {
      const { verdict, report } = admin.service
      const { store, log } = (report.descriptor.extensions.kbs ?? {}) as { readonly store?: unknown; readonly log?: unknown }
      const { simulated, warnings } = verdict
      const broker = { simulated, keyset: report.keysetDigest, store: store ?? null, log: log ?? null, warnings }
      return { json: values.json, result: { broker, ...(await run(action, admin, values, resource, key)) } }
    } finally {
      admin.close()
    }
  } finally {
    key?.fill(0)
  }
}

async function run(action: Action, admin: BrokerAdmin, values: Values, resource: string | null, value: Uint8Array | null): Promise<object> {
  if (action === 'audit') return admin.audit()
  if (resource === null) return { resources: await admin.resources() }
  if (value === null) return admin.revoke(resource)
  const evidence = evidenceOf(values.evidence)
  const file = values['release-policy']
  if (action === 'rotate' && file === undefined) {
    if (values.evidence !== undefined) throw fail('usage', '--evidence goes with --release-policy')
    return admin.rotate({ resource, value })
  }
  const policy = await nodeFiles.readText(demand(file, 'release-policy'))
  // The broker would refuse it too; here it costs no journey of the key.
  parsePolicy(policy)
  return action === 'upload' ? admin.put({ resource, value, policy, evidence }) : admin.rotate({ resource, value, policy, evidence })
}

function read(action: Action, args: readonly string[]): { readonly values: Values; readonly model: string | null } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    const allowed = [...own[action], 'broker', 'policy', 'release', 'root', 'admin-token-file', 'json']
    for (const name of Object.keys(values)) if (!allowed.includes(name)) throw new TypeError(`--${name} is not an option of model ${action}`)
    const takesModel = action === 'upload' || action === 'rotate' || action === 'revoke'
    if (positionals.length > (takesModel ? 1 : 0)) throw new TypeError(`model ${action}: expected ${takesModel ? 'one sealed model' : 'no argument'}`)
    return { values, model: positionals[0] ?? null }
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

async function resourceOf(model: string | null, resource: string | undefined, key: Uint8Array | null): Promise<string> {
  if ((model === null) === (resource === undefined)) throw fail('usage', 'expected a sealed model, or --resource REPO/TYPE/TAG')
  if (model === null) return demand(resource, 'resource')
  const manifest = parseManifest(await readManifestText(model))
  if (key !== null) await checkKey(key, manifest)
  return manifest.key_id
}

async function open(values: Values): Promise<BrokerAdmin> {
  const url = demand(values.broker, 'broker')
  return openBrokerAdmin({ url, ...(await readAdminOptions(values)), now: () => new Date() })
}

function evidenceOf(text: string | undefined): 'veritee' | 'quote' {
  if (text === undefined || text === 'veritee' || text === 'quote') return text ?? 'veritee'
  throw fail('usage', `--evidence: expected veritee or quote, found ${JSON.stringify(text)}`)
}

function demand(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw fail('usage', `expected --${name}; see veriteed model --help`)
  return value
}
