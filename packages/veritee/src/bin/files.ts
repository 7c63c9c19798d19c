import { readFile, stat } from 'node:fs/promises'
import { intelSgxRootCa, parseCertificate, parsePem, type Trust } from '../attestation/index.ts'
import { fromHex, fromUtf8 } from '../bytes/index.ts'
import { fail } from '../errors.ts'
import { type Policy, parsePolicy } from '../policy/index.ts'

const maxFileBytes = 4 << 20

/** A file, bounded. Throws `file_unavailable`. */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path)
    if (size > maxFileBytes) throw fail('file_unavailable', `${path}: expected at most ${maxFileBytes} bytes, found ${size}`)
    return new Uint8Array(await readFile(path))
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'file_unavailable') throw cause
    throw fail('file_unavailable', `cannot read ${path}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`, cause)
  }
}

/** A text file as UTF-8. Throws `file_unavailable`, `malformed_encoding`. */
export async function readText(path: string): Promise<string> {
  return fromUtf8(await readBytes(path))
}

/** A quote file: raw bytes, or the same as hex text. */
export async function readQuote(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path)
  // A raw quote begins with its version, 3 to 5, which is no hex digit.
  if (bytes.length === 0 || (bytes[0] as number) < 0x20) return bytes
  const text = new TextDecoder('latin1').decode(bytes).replace(/\s+/g, '').replace(/^0x/, '')
  return /^(?:[0-9a-fA-F]{2})+$/.test(text) ? fromHex(text) : bytes
}

export async function readPolicy(path: string): Promise<Policy> {
  return parsePolicy(await readText(path))
}

/** Intel's root, and the one in `path` (PEM or DER) where given. What chains to another root than Intel's stays simulated whatever is passed. */
export async function readTrust(path: string | undefined): Promise<Trust> {
  if (path === undefined) return { roots: [intelSgxRootCa] }
  const bytes = await readBytes(path)
  const isPem = bytes[0] === 0x2d
  const certificates = isPem ? parsePem(fromUtf8(bytes)) : [bytes]
  for (const certificate of certificates) parseCertificate(certificate)
  return { roots: [intelSgxRootCa, ...certificates] }
}

/** RFC 3339, or Unix seconds; now where absent. Throws `usage`. */
export function readTime(text: string | undefined): Date {
  if (text === undefined) return new Date()
  const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/.test(text)
  const at = /^\d{1,11}$/.test(text) ? new Date(Number(text) * 1000) : rfc3339 ? new Date(text) : null
  if (at === null || Number.isNaN(at.getTime())) throw fail('usage', `--at: expected RFC 3339 or Unix seconds, found ${JSON.stringify(text)}`)
  return at
}
