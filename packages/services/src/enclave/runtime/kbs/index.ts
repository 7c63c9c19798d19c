export { openJwe, parseTeePubkey, sealJwe } from './jwe.ts'
export { KbsRefusedError, type ResourceRequest, requestResource } from './request-resource.ts'
export * from './runtime-data.ts'
