import { createHash } from 'node:crypto'
import { withSeed } from 'veritee/client'
import { Draws } from '../../packages/services/src/validator/probes/draws.ts'

/** A body of a user as the library sends it: with 64 bits as its seed, where it names none. `salt` is what makes two equal bodies differ; a run can be made again. */
export function asSent(body: string, salt: number): string {
  if (Object.hasOwn(JSON.parse(body) as object, 'seed')) return body
  const drawn = new Draws(new Uint8Array(createHash('sha256').update(body).digest()), `seed of a user ${salt}`).int64()
  return new TextDecoder().decode(withSeed(new TextEncoder().encode(body), drawn))
}
