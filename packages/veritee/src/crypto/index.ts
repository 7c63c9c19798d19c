export { generateEd25519 } from '#crypto'
export type { SigningKey } from './types.ts'
