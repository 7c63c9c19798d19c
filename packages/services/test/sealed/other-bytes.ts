import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { chunkCount, chunkPlace, fileKey, parseManifest, sealChunk } from 'veritee/seal'

/** Seals random bytes in the place of a file, under its own key: what a holder of the model key can do, and no sealer does. */
export async function sealOtherBytes(directory: string, modelKey: Uint8Array, index: number): Promise<Buffer> {
  const manifest = parseManifest(await readFile(join(directory, 'manifest.json'), 'utf8'))
  const file = manifest.files[index]
  if (file === undefined) throw new TypeError('no such file')
  const { key, noncePrefix } = await fileKey(modelKey, manifest, index, file)
  const plain = randomBytes(file.size)
  const sealed: Uint8Array[] = []
  for (let n = 0; n < chunkCount(file.size, manifest.chunk_size); n++) {
    const { length, last } = chunkPlace(n, file.size, manifest.chunk_size)
    const start = n * manifest.chunk_size
    sealed.push(await sealChunk(key, noncePrefix, n, last, plain.subarray(start, start + length - 16)))
  }
  await writeFile(join(directory, `${file.name}.sealed`), Buffer.concat(sealed))
  return plain
}
