import { fail, VeriteeError } from 'veritee/errors'

// Primary result codes of SQLite: damaged, and not a database.
const damaged = new Set([11, 26])

/** A failure of SQLite or of its file as a coded error; coded errors stay what they are. Messages of SQLite hold names of tables, never values. */
export function sqliteFailure(path: string, cause: unknown): VeriteeError {
  if (cause instanceof VeriteeError) return cause
  const code = cause instanceof Error && 'errcode' in cause && typeof cause.errcode === 'number' ? cause.errcode & 0xff : null
  const what = cause instanceof Error ? cause.message : 'failed'
  if (code !== null && damaged.has(code))
    return fail('receipt_store_invalid', `${path} is damaged (${what}); it is left as it is. Move it away to begin a new one`, cause)
  const why = code === 5 ? 'another process has it open' : code === 13 ? 'it is full, or the disk is' : what
  return fail('receipt_store_unavailable', `${path}: ${why}`, cause)
}
