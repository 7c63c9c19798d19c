import { parseJson, Shape } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import type { ReleaseMemory, ReleaseSeen } from 'veritee/release'
import type { AuthorityRows } from '../authority.ts'

const table = 'releases'
/** Of those that any manifest ever named. */
const maxRows = 1024
const shape = new Shape('malformed_document')

/**
 * The newest release statement seen of each set of signers, in rows with a MAC (rules S3 and S25): a process that starts anew refuses older ones. Whoever writes to the store cannot bar a statement with it;
 * he can delete the rows or put older ones there, and a process that starts then takes a statement that it had seen replaced, as at its first start, for as long as that counts.
 *
 * Reads the rows once; what the store throws then is thrown. A row that cannot be written is reported: within this process what was seen holds all the same.
 */
export async function keptReleases(rows: AuthorityRows, report: (line: string) => void): Promise<ReleaseMemory> {
  const found = new Map<string, ReleaseSeen>()
  for (const [keySet, { version, content }] of await rows.list(table, '', maxRows)) {
    const o = shape.object(parseJson(content, { maxLength: 256, maxDepth: 2 }), 'row', ['digest'])
    found.set(keySet, { sequence: version, digest: shape.digest(o.digest, 'digest') })
  }
  return {
    get: async (keySet) => found.get(keySet) ?? null,
    put: async (keySet, { sequence, digest }) => {
      try {
        await rows.raise(table, [{ key: keySet, version: sequence, content: JSON.stringify({ digest }) }])
      } catch (error) {
        if (!(error instanceof VeriteeError)) throw error
        report(`the newest release statement seen is not kept (${error.code}): after a restart an older one would be taken`)
      }
    },
  }
}
