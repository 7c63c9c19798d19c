import {
  type Connection,
  type ConnectionOptions,
  connect,
  defaultReleaseDirectory,
  diskReleases,
  handOver,
  type ProofListener,
} from '../../client/index.ts'
import { fail } from '../../errors.ts'
import { apiKeyFromEnvironment, type Options, policyWhy, required, shared } from '../terminal/command.ts'
import { readPolicy, readText, readTrust } from '../terminal/files.ts'
import { writeNotes } from '../terminal/print.ts'

/** Options of commands that send something. */
export const linkOptions = {
  policy: shared.policy,
  release: shared.release,
  role: { ...shared.serviceRole, choices: ['controller', 'worker'] },
  root: shared.root,
  mode: {
    type: 'string',
    value: 'MODE',
    choices: ['buffered', 'hold-last', 'report'],
    default: 'hold-last',
    help: 'what waits for the proof: the whole answer, its end, or nothing',
  },
  'encrypt-to': {
    type: 'string',
    value: 'WHOM',
    choices: ['none', 'controller', 'worker'],
    default: 'none',
    help: 'encrypt bodies to an attested key, beyond TLS (spec/ehbp-binding.md)',
  },
  'no-seed': {
    type: 'boolean',
    default: false,
    help: 'send chats without a seed as they are; else each gets one that is drawn here, so that its answer can be replayed',
  },
  'access-tokens': {
    type: 'boolean',
    default: false,
    help: 'ask with one-time tokens that the API key pays for: which key, and which requests belong together, is in none of them',
  },
  'hand-over': {
    type: 'string',
    value: 'URL',
    help: 'give each prompt and verified answer, IN CLEAR, to this validator, which runs it again; off unless you say so',
  },
  'hand-over-token-file': { type: 'string', value: 'FILE', help: "with --hand-over: the validator's credential" },
} as const satisfies Options

export interface LinkValues {
  readonly policy?: string | undefined
  readonly release?: string[] | undefined
  readonly root?: string | undefined
  readonly role: string
  readonly mode: string
  readonly 'encrypt-to': string
  readonly 'no-seed': boolean
  readonly 'access-tokens': boolean
  readonly 'hand-over'?: string | undefined
  readonly 'hand-over-token-file'?: string | undefined
}

/** Verifies the service that is named and gives what talks to it. Without a policy it is `usage`, before anything is asked (rule S14). */
export async function link(url: string, values: LinkValues, more: Pick<ConnectionOptions, 'onProof' | 'cache'> = {}): Promise<Connection> {
  const handing = await handingOver(values)
  const policy = await readPolicy(required(values.policy, '--policy', policyWhy), values.release)
  const {
    role,
    mode,
    'encrypt-to': encryptTo,
  } = values as LinkValues &
    Required<Pick<ConnectionOptions, 'role' | 'mode'>> & {
      'encrypt-to': NonNullable<ConnectionOptions['encryptTo']>
    }
  const releases = diskReleases(defaultReleaseDirectory())
  const connection = await connect(url, {
    policy,
    releases,
    trust: await readTrust(values.root),
    role,
    mode,
    encryptTo,
    freshSeed: !values['no-seed'],
    accessTokens: values['access-tokens'],
    ...apiKeyFromEnvironment(),
    ...more,
  })
  if (handing !== null) connection.onProof(handing)
  return connection
}

/** Says at the start what is given away and to whom, and of each answer that was not. */
async function handingOver({ 'hand-over': url, 'hand-over-token-file': tokenFile }: LinkValues): Promise<ProofListener | null> {
  if (url === undefined) {
    if (tokenFile !== undefined) throw fail('usage', '--hand-over-token-file goes with --hand-over')
    return null
  }
  const token = tokenFile === undefined ? undefined : (await readText(tokenFile)).replace(/\r?\n$/, '')
  const listener = handOver({
    url,
    ...(token === undefined ? {} : { token }),
    onResult: (_, error) => (error === null ? undefined : writeNotes([`NOT HANDED OVER: ${error.code}`])),
  })
  writeNotes([`prompts and verified answers are handed over, in clear, to ${new URL(url).origin}`])
  return listener
}
