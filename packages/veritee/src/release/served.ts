import type { Json } from '../bytes/jcs.ts'
import { jcs } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import type { ReleaseDocument } from './demanded.ts'
import { parseRelease, releaseText } from './statement.ts'

const version = 'veritee.releases.v1'
/** Those of one release and the next, of two products. */
export const maxServedReleases = 4
export const maxServedLength: number = 1 << 20
const maxProofLength = 1 << 17
const shape = new Shape('release_statement_malformed')

/**
 * Reads what a service shows at `GET /v1/veritee/releases` (spec/release-statement.md, "Served by services"). A hint: nothing is verified, and a statement is read as such by
 * whoever verifies it. Throws `release_statement_malformed`.
 */
export function parseServedReleases(text: string): readonly ReleaseDocument[] {
  const limits = { maxLength: maxServedLength, maxDepth: 8, integersOnly: true } as const
  const o = shape.object(parseDocument(text, limits, 'release_statement_malformed', 'the list of release statements'), 'list', [
    'version',
    'statements',
  ])
  shape.oneOf(o.version, 'version', [version])
  return shape.array(o.statements, 'statements', maxServedReleases).map((item, i) => {
    const one = shape.object(item, `statements[${i}]`, ['statement', 'proof'])
    return {
      statement: jcs(shape.record(one.statement, `statements[${i}].statement`) as Json),
      proof: shape.nullableString(one.proof, `statements[${i}].proof`, maxProofLength),
    }
  })
}

/** What {@link parseServedReleases} reads. Throws `release_statement_malformed` for what is no statement, and where there are too many or they are too long. */
export async function servedReleasesText(documents: readonly ReleaseDocument[]): Promise<string> {
  const statements: Json[] = []
  for (const { statement, proof } of documents) {
    const { document, signatures } = await parseRelease(statement)
    statements.push({ statement: JSON.parse(releaseText(document, signatures)) as Json, proof })
  }
  const text = jcs({ version, statements })
  if (statements.length > maxServedReleases || text.length > maxServedLength)
    throw fail(
      'release_statement_malformed',
      `expected at most ${maxServedReleases} statements of ${maxServedLength} characters together, found ${statements.length} of ${text.length}`,
    )
  return text
}
