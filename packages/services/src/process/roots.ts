import { parseCertificate, parsePem } from 'veritee/attestation'
import { fail } from 'veritee/errors'
import type { Files } from './files.ts'

/** The certificates of a PEM file. Throws `config_invalid`, `file_unavailable`. */
export async function readRoots(path: string, files: Files): Promise<Uint8Array[]> {
  const text = await files.readText(path)
  try {
    const certificates = parsePem(text)
    for (const certificate of certificates) parseCertificate(certificate)
    return certificates
  } catch (cause) {
    throw fail('config_invalid', `${path}: expected certificates in PEM`, cause)
  }
}
