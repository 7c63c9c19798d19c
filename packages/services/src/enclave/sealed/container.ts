import type { FileHandle } from 'node:fs/promises'
import type { Verified } from 'veritee/attestation'
import { fromUtf8, utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import {
  type ContainerLayout,
  checkContainerPadding,
  checkContainerText,
  containerLayout,
  containerPrefixLength,
  readContainerPrefix,
  type SealedManifest,
  sealedSize,
} from 'veritee/seal'
import { readAt } from './file.ts'

/** The text of the manifest in a container: well-formed and canonical, its signature not looked at. Throws `sealed_container_malformed`, `sealed_manifest_malformed`. */
export async function readContainerManifest(file: FileHandle): Promise<string> {
  const prefix = new Uint8Array(containerPrefixLength)
  const bytes = new Uint8Array(readContainerPrefix(prefix.subarray(0, await readAt(file, prefix, 0))))
  if ((await readAt(file, bytes, containerPrefixLength)) !== bytes.length)
    throw fail('sealed_container_malformed', `expected a manifest of ${bytes.length} bytes, found the end of the file`)
  let text: string
  try {
    text = fromUtf8(bytes)
  } catch (cause) {
    throw fail('sealed_manifest_malformed', 'expected the manifest to be UTF-8', cause)
  }
  checkContainerText(text)
  return text
}

/**
 * Checks that a container is as long as its verified manifest demands, and that nothing lies between its parts; gives where the files begin.
 * The files themselves are not read. Throws `sealed_file_size`, `sealed_container_malformed`.
 */
export async function checkContainer(file: FileHandle, text: string, manifest: Verified<SealedManifest>): Promise<ContainerLayout> {
  const manifestLength = utf8(text).length
  const layout = containerLayout(manifest, manifestLength)
  const { size } = await file.stat()
  if (size !== layout.size) throw fail('sealed_file_size', `expected ${layout.size} bytes in all, found ${size}`)
  let end = containerPrefixLength + manifestLength
  for (const [index, start] of layout.starts.entries()) {
    const padding = new Uint8Array(start - end)
    if ((await readAt(file, padding, end)) !== padding.length) throw fail('sealed_file_size', `expected ${layout.size} bytes, found the end`)
    checkContainerPadding(padding, end)
    end = start + sealedSize(manifest.files[index]?.size ?? 0, manifest.chunk_size)
  }
  return layout
}
