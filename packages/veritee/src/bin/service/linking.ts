import { type Connection, type ConnectionOptions, connect } from '../../client/index.ts'
import { apiKeyFromEnvironment, type Options, policyWhy, required, shared } from '../terminal/command.ts'
import { readPolicy, readTrust } from '../terminal/files.ts'

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
} as const satisfies Options

export interface LinkValues {
  readonly policy?: string | undefined
  readonly release?: string[] | undefined
  readonly root?: string | undefined
  readonly role: string
  readonly mode: string
  readonly 'encrypt-to': string
}

/** Verifies the service that is named and gives what talks to it. Without a policy it is `usage`, before anything is asked (rule S14). */
export async function link(url: string, values: LinkValues, more: Pick<ConnectionOptions, 'onProof' | 'cache'> = {}): Promise<Connection> {
  const policy = await readPolicy(required(values.policy, '--policy', policyWhy), values.release)
  const {
    role,
    mode,
    'encrypt-to': encryptTo,
  } = values as LinkValues &
    Required<Pick<ConnectionOptions, 'role' | 'mode'>> & {
      'encrypt-to': NonNullable<ConnectionOptions['encryptTo']>
    }
  return connect(url, { policy, trust: await readTrust(values.root), role, mode, encryptTo, ...apiKeyFromEnvironment(), ...more })
}
