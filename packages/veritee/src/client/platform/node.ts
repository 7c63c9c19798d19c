import { nodeTransport } from '../node-transport.ts'
import { diskReleases } from '../releases/disk-releases.ts'
import { diskReports } from './disk-reports.ts'
import type { Platform } from './platform.ts'

/** Node: TLS pinned to the attested key, reports and what was seen of releases kept in files. */
export const platform: Platform = {
  openTransport: nodeTransport,
  keepReports: diskReports,
  keepReleases: diskReleases,
  defaultEncryptTo: 'none',
}
