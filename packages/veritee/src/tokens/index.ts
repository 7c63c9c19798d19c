/** One-time tokens that cannot be linked to whoever got them: Privacy Pass with blind RSA (spec/access-tokens.md). */
export { type BlindKey, type BlindRandomness, blind, encodePss } from './blind-rsa.ts'
export {
  type AccessTokenTerms,
  accessTokenExtension,
  accessTokenTerms,
  challengeOf,
  keyOfDirectory,
  maxTokenBatch,
  type TokenKeyTerms,
  tokenDirectoryPath,
  tokenIssuePath,
} from './terms.ts'
export {
  base64Url,
  challengeBytes,
  fromBase64Url,
  modulusBytes,
  type ParsedToken,
  type PendingToken,
  parseToken,
  parseTokenKey,
  requestBytes,
  requestToken,
  type TokenKey,
  tokenAuthorization,
  tokenChallenge,
  tokenKeySpki,
  tokenOfAuthorization,
} from './token.ts'
