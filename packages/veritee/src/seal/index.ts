export { chunkCount, chunkNonce, chunkPlace, openChunk, sealChunk, sealedSize } from './chunk.ts'
export {
  type ContainerLayout,
  checkContainerPadding,
  checkContainerText,
  containerHead,
  containerLayout,
  containerPrefixLength,
  readContainerPrefix,
} from './container.ts'
export { checkKey, type FileKey, fileKey, keyCheck } from './keys.ts'
export {
  chunkSizes,
  type ManifestTrust,
  maxManifestLength,
  parseManifest,
  readKeyId,
  type SealedFile,
  type SealedManifest,
  type SignedManifest,
  signManifest,
  verifyManifest,
} from './manifest.ts'
