import { nodeTransport } from '../node-transport.ts'
import { diskReports } from './disk-reports.ts'
import type { Platform } from './platform.ts'

/** Node: TLS pinned to the attested key, reports kept in files. */
export const platform: Platform = {
  openTransport: nodeTransport,
  keepReports: diskReports,
  defaultEncryptTo: 'none',
}
