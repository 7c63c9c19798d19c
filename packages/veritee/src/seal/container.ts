import { equal, isZero, utf8 } from '../bytes/bytes.ts'
import { type Json, jcs } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import { sealedSize } from './chunk.ts'
import { maxManifestLength, parseManifest, type SealedManifest } from './manifest.ts'

/**
 * A sealed model as one file: a head of magic, length and manifest, then the sealed files in their order. Nothing in it is free: all places follow from the
 * signed manifest, whose text is its JCS form, and what lies between is zero. Normative: spec/sealed-model.md.
 */

const magic = utf8('veritee.sealed-model.v1\n')
const code = 'sealed_container_malformed'
/** Of what stands before the manifest: the magic, and the manifest's length in eight bytes, big-endian. */
export const containerPrefixLength = 32
/** Where manifest and files begin and end: what file systems share, copy and map pieces of. */
const alignment = 4096
/** No character takes more bytes in UTF-8. */
const maxManifestBytes = 4 * maxManifestLength

/** Where the sealed files begin, in the order of the manifest, and how long the container is: exactly up to the end of the last one. */
export interface ContainerLayout {
  readonly starts: readonly number[]
  readonly size: number
}

/** The head of a container: prefix, manifest, and zeros up to where the first file begins. `text` is what `signManifest` gives. */
export function containerHead(text: string): Uint8Array {
  const manifest = utf8(text)
  const head = new Uint8Array(aligned(containerPrefixLength + manifest.length))
  head.set(magic)
  new DataView(head.buffer).setBigUint64(magic.length, BigInt(manifest.length))
  head.set(manifest, containerPrefixLength)
  return head
}

/** How many bytes of manifest follow the prefix. Throws `sealed_container_malformed`. */
export function readContainerPrefix(prefix: Uint8Array): number {
  if (prefix.length < containerPrefixLength || !equal(prefix.subarray(0, magic.length), magic))
    throw fail(code, 'expected a file that begins with veritee.sealed-model.v1')
  const length = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength).getBigUint64(magic.length)
  if (length > BigInt(maxManifestBytes)) throw fail(code, `expected a manifest of at most ${maxManifestBytes} bytes, found ${length}`)
  return Number(length)
}

/**
 * Checks that the text of a container's manifest is its JCS form, so that one manifest has one head. The signature is not looked at.
 * Throws `sealed_manifest_malformed`, `sealed_container_malformed`.
 */
export function checkContainerText(text: string): void {
  if (jcs(parseManifest(text) as unknown as Json) !== text) throw fail(code, 'expected the manifest in its JCS form')
}

/** The places in a container, by its manifest and the length of the manifest's text in UTF-8. Throws `sealed_container_malformed`. */
export function containerLayout({ files, chunk_size }: Pick<SealedManifest, 'files' | 'chunk_size'>, manifestLength: number): ContainerLayout {
  const starts: number[] = []
  let size = containerPrefixLength + manifestLength
  for (const file of files) {
    const start = aligned(size)
    starts.push(start)
    size = start + sealedSize(file.size, chunk_size)
    // Beyond it places could not be told apart, and none of these files exists.
    if (!Number.isSafeInteger(aligned(size))) throw fail(code, 'expected files of at most 2^53 - 1 bytes together')
  }
  return { starts, size }
}

/** Throws `sealed_container_malformed` where what lies between the parts of a container is not zero. */
export function checkContainerPadding(bytes: Uint8Array, at: number): void {
  if (!isZero(bytes)) throw fail(code, `expected zeros from byte ${at} to the next file`)
}

function aligned(size: number): number {
  return Math.ceil(size / alignment) * alignment
}
