/**
 * Veritee, the part a relying party trusts: verify quotes, evaluate policies, check receipts. It runs in browsers and Node, and outside
 * `veritee/client` it reads no clock and no network: time, trust and collateral are arguments.
 *
 * Three verbs: `parseX` reads a shape and judges nothing; `verifyX` establishes that something is genuine, or throws a coded error;
 * `evaluateX` compares what was verified with what you want, and gives a verdict that lists every check, passed, failed or waived.
 */
export * from './attestation/index.ts'
export { type ErrorCode, type ErrorKind, errorTexts, isErrorCode, kindOf, VeriteeError } from './errors.ts'
export * from './policy/index.ts'
export * from './receipt/index.ts'
