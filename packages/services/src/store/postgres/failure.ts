import { fail, VeriteeError } from 'veritee/errors'

/** What a failure allows: `again` at once on another connection, or over again because another transaction was in the way; `no`: it would fail again. */
export type Retry = 'connection' | 'transaction' | 'no'

// SQLSTATE of transactions that met another one: serialization, deadlock, and a unique name that the other one took.
const met = new Set(['40001', '40P01', '23505'])
// Of a server that goes or comes; class 08 is the connection.
const gone = new Set(['57P01', '57P02', '57P03'])

export function retryOf(cause: unknown): Retry {
  const state = stateOf(cause)
  if (state === null) return cause instanceof VeriteeError ? 'no' : 'connection'
  if (met.has(state)) return 'transaction'
  return gone.has(state) || state.startsWith('08') ? 'connection' : 'no'
}

/** The SQLSTATE where the server said what failed; null where the connection did. */
function stateOf(cause: unknown): string | null {
  if (!(cause instanceof Error) || !('code' in cause) || typeof cause.code !== 'string' || !('severity' in cause)) return null
  return cause.code
}

const words: Readonly<Record<string, string>> = {
  '28000': 'the server refuses this user',
  '28P01': 'the server refuses the password',
  '3D000': 'there is no such database',
  '42501': 'the user may not do this; see docs/store.md for the rights it needs',
  '53100': 'the disk of the server is full',
  '53300': 'the server has no connection left',
  '57014': 'the server took too long',
  '55P03': 'a lock was not given in time',
}

/**
 * A failure of the server or on the way to it as a coded error; coded errors stay what they are. Messages of the server can hold values of rows: they are not
 * repeated, its SQLSTATE is.
 */
export function postgresFailure(cause: unknown): VeriteeError {
  if (cause instanceof VeriteeError) return cause
  const state = stateOf(cause)
  if (state !== null) return fail('receipt_store_unavailable', `PostgreSQL: ${words[state] ?? 'the statement failed'} (SQLSTATE ${state})`, cause)
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : null
  return fail('receipt_store_unavailable', `PostgreSQL: the connection failed (${code ?? 'broken off, or no answer in time'})`, cause)
}
