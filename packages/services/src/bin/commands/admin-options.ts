import { existsSync } from 'node:fs'
import { intelSgxRootCa } from 'veritee/attestation'
import { defaultReleaseDirectory, diskReleases } from 'veritee/client'
import { fail } from 'veritee/errors'
import { type Policy, parsePolicy } from 'veritee/policy'
import { type ReleaseDocument, withReleases } from 'veritee/release'
import type { AdminChannelOptions } from '../../owner/admin-channel.ts'
import { nodeFiles } from '../../process/files.ts'
import { readRoots } from '../../process/roots.ts'

/** What is said on a command line of whoever a credential is to be sent to. */
export interface AdminValues {
  readonly policy?: string | undefined
  /** Files of release statements, where the policy demands one. */
  readonly release?: readonly string[] | undefined
  readonly root?: string | undefined
  readonly 'admin-token-file'?: string | undefined
}

/** Which controller's admin interface, on every command that speaks to one. */
export const controllerOptions = {
  admin: { type: 'string' },
  policy: { type: 'string' },
  release: { type: 'string', multiple: true },
  root: { type: 'string' },
  'admin-token-file': { type: 'string' },
  json: { type: 'boolean', default: false },
} as const

/** The end of the help of such a command. */
export const controllerHelp = `      CONTROLLER:  --admin URL                  the admin interface, https only
                   --policy FILE                what you accept as a controller: judged before the credential is sent
                   --release FILE ...           a release statement, where the policy demands one; without it the controller is asked
                   --root FILE                  a further root certificate, such as a simulator's
                   --admin-token-file FILE      the credential; or VERITEE_ADMIN_TOKEN
      --json                                    one JSON document on stdout

Exit codes: 0 done, 1 the controller is not what the policy accepts, 2 wrong usage, 3 something needed was unavailable.
`

/** Policy, with the release statements given for it, roots and credential of an admin interface. Throws `usage`, `policy_*`, `file_unavailable`, and as `withReleases`. */
export async function readAdminOptions(values: AdminValues): Promise<Omit<AdminChannelOptions, 'url' | 'role' | 'now'>> {
  if (values.policy === undefined || values.policy === '') throw fail('usage', 'expected --policy FILE: what you accept behind the admin interface')
  const policy = await withStatements(parsePolicy(await nodeFiles.readText(values.policy)), values.release ?? [])
  const further = values.root === undefined ? [] : await readRoots(values.root, nodeFiles)
  const token = await credential(values['admin-token-file'])
  return { policy, trust: { roots: [intelSgxRootCa, ...further] }, token, releases: diskReleases(defaultReleaseDirectory()) }
}

/** Beside a statement lies, where the policy demands one, the proof that it is in a log. */
async function withStatements(policy: Policy, files: readonly string[]): Promise<Policy> {
  if (files.length === 0) return policy
  const documents: ReleaseDocument[] = []
  for (const file of files) {
    const proof = `${file}.tlog-proof`
    documents.push({ statement: await nodeFiles.readText(file), proof: existsSync(proof) ? await nodeFiles.readText(proof) : null })
  }
  return withReleases(policy, documents)
}

async function credential(path: string | undefined): Promise<string> {
  const given = process.env.VERITEE_ADMIN_TOKEN
  if ((path === undefined) === (given === undefined)) throw fail('usage', 'expected either --admin-token-file FILE or VERITEE_ADMIN_TOKEN')
  const token = path === undefined ? (given ?? '') : (await nodeFiles.readText(path)).replace(/\r?\n$/, '')
  if (!/^[\x21-\x7e]{32,512}$/.test(token)) throw fail('usage', 'the credential: expected 32 to 512 visible ASCII characters')
  return token
}
