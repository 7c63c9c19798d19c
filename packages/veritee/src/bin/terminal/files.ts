import { createReadStream } from 'node:fs'
import { intelSgxRootCa, parseCertificate, parsePem, type Trust } from '../../attestation/index.ts'
import { concatAll, fromHex, fromUtf8 } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import { type Policy, parsePolicy } from '../../policy/index.ts'
import { maxReleaseLength, withReleases } from '../../release/index.ts'

const maxFileBytes = 4 << 20

/** A file, bounded. Throws `file_unavailable`. */
export async function readBytes(path: string, maxBytes: number = maxFileBytes): Promise<Uint8Array> {
  try {
    // Bounded while reading: devices and pipes do not say how much they will give.
    const parts: Uint8Array[] = []
    let length = 0
    for await (const part of createReadStream(path) as AsyncIterable<Uint8Array>) {
      length += part.length
      if (length > maxBytes) throw fail('file_unavailable', `${path}: expected at most ${maxBytes} bytes`)
      parts.push(part)
    }
    return concatAll(parts)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'file_unavailable') throw cause
    throw fail('file_unavailable', `cannot read ${path}: ${cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'}`, cause)
  }
}

/** A text file as UTF-8. Throws `file_unavailable`, `malformed_encoding`. */
export async function readText(path: string, maxBytes: number = maxFileBytes): Promise<string> {
  return fromUtf8(await readBytes(path, maxBytes))
}

/** All of standard input, as UTF-8, bounded. Throws `usage`. */
export async function readStandardInput(): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of process.stdin as AsyncIterable<Uint8Array>) {
    length += part.length
    if (length > maxFileBytes) throw fail('usage', `standard input: expected at most ${maxFileBytes} bytes`)
    parts.push(part)
  }
  return fromUtf8(concatAll(parts))
}

/** The same, or null where there is no such file. */
export async function readTextIfThere(path: string): Promise<string | null> {
  try {
    return await readText(path)
  } catch (error) {
    if (error instanceof Error && error.cause instanceof Error && 'code' in error.cause && error.cause.code === 'ENOENT') return null
    throw error
  }
}

/** A quote file: raw bytes, or the same as hex text. */
export async function readQuote(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path)
  // A raw quote begins with its version, 3 to 5, which is no hex digit.
  if (bytes.length === 0 || (bytes[0] as number) < 0x20) return bytes
  const text = new TextDecoder('latin1').decode(bytes).replace(/\s+/g, '').replace(/^0x/, '')
  return /^(?:[0-9a-fA-F]{2})+$/.test(text) ? fromHex(text) : bytes
}

/** A policy, and the release statements that go with it; beside a statement lies, where the policy demands one, the proof that it is in a log. */
export async function readPolicy(path: string, releases: readonly string[] = []): Promise<Policy> {
  const policy = parsePolicy(await readText(path))
  const documents = await Promise.all(
    releases.map(async (file) => ({ statement: await readText(file, maxReleaseLength), proof: await readTextIfThere(`${file}.tlog-proof`) })),
  )
  return documents.length === 0 ? policy : withReleases(policy, documents)
}

/** The same where the policy may be left out: null then. Statements without a policy are `usage`, for nothing would be judged by them. */
export async function readOptionalPolicy(values: {
  readonly policy?: string | undefined
  readonly release?: readonly string[] | undefined
}): Promise<Policy | null> {
  if (values.policy !== undefined) return readPolicy(values.policy, values.release)
  if (values.release !== undefined) throw fail('usage', '--release goes with a policy that demands a release statement: pass --policy too')
  return null
}

/** Intel's root, and the one in `path` (PEM or DER) where given. What chains to another root than Intel's stays simulated whatever is passed. */
export async function readTrust(path: string | undefined): Promise<Trust> {
  if (path === undefined) return { roots: [intelSgxRootCa] }
  const bytes = await readBytes(path)
  try {
    const isPem = bytes[0] === 0x2d
    const certificates = isPem ? parsePem(fromUtf8(bytes)) : [bytes]
    for (const certificate of certificates) parseCertificate(certificate)
    return { roots: [intelSgxRootCa, ...certificates] }
  } catch (cause) {
    // The caller's own file, not evidence.
    throw fail('usage', `--root: expected a certificate in PEM or DER: ${cause instanceof Error ? cause.message : 'unreadable'}`, cause)
  }
}

/** RFC 3339, or Unix seconds; now where absent. Throws `usage`. */
export function readTime(text: string | undefined): Date {
  if (text === undefined) return new Date()
  const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/.test(text)
  const at = /^\d{1,11}$/.test(text) ? new Date(Number(text) * 1000) : rfc3339 && isDay(text.slice(0, 10)) ? new Date(text.toUpperCase()) : null
  if (at === null || Number.isNaN(at.getTime())) throw fail('usage', `--at: expected RFC 3339 or Unix seconds, found ${JSON.stringify(text)}`)
  return at
}

/** February 30 would otherwise be read as a day in March. */
function isDay(text: string): boolean {
  const day = new Date(`${text}T00:00:00Z`)
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text)
}
