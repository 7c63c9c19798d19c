export * from './browser.ts'
export * from './collateral/index.ts'
export { isLoopbackHost, nodeTransport, spkiOf } from './node-transport.ts'
export { defaultReportDirectory } from './platform/disk-reports.ts'
