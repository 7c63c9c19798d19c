export { generateEd25519, generateX25519, verifyEd25519 } from '#crypto'
export type { SigningKey } from './types.ts'
