import { parseJson, Shape } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import type { DrawnNonces } from '../../receipt/index.ts'
import { readTextIfThere } from '../terminal/files.ts'

/**
 * The nonces that whoever kept a bundle drew for it, in a file beside it (`x.bundle` has `x.drawn.json`). A bundle holds none, since a nonce proves
 * freshness only to whoever drew it: believe these files in folders that nobody else writes to.
 */
export function drawnPath(bundlePath: string): string {
  return `${bundlePath.replace(/\.bundle(?:\.json)?$/, '')}.drawn.json`
}

export function formatDrawn({ nonce, clientNonce }: Required<DrawnNonces>): string {
  return `${JSON.stringify({ version: 'veritee.drawn.v1', nonce, client_nonce: clientNonce })}\n`
}

/** Nothing where there is no such file. Throws `usage` for one that is malformed. */
export async function readDrawn(bundlePath: string): Promise<DrawnNonces> {
  const path = drawnPath(bundlePath)
  const text = await readTextIfThere(path)
  if (text === null) return {}
  try {
    const shape = new Shape('usage')
    const o = shape.object(parseJson(text, { maxLength: 4096, maxDepth: 2 }), path, ['version', 'nonce', 'client_nonce'])
    shape.oneOf(o.version, 'version', ['veritee.drawn.v1'])
    return { nonce: shape.hex(o.nonce, 'nonce', 32), clientNonce: shape.hex(o.client_nonce, 'client_nonce', 32) }
  } catch (cause) {
    throw fail('usage', `${path}: ${cause instanceof Error ? cause.message : 'unreadable'}`, cause)
  }
}
