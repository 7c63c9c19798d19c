import { fail } from '../../errors.ts'
import { webTransport } from '../web-transport.ts'
import type { Platform } from './platform.ts'

/** Browsers: no view of the TLS key, no files. */
export const platform: Platform = {
  openTransport: (url) => webTransport(url),
  keepReports: noDirectory,
  keepReleases: noDirectory,
  defaultEncryptTo: 'controller',
}

function noDirectory(): never {
  throw fail('usage', 'cache: a directory is for Node')
}
