// Appends to a log without end and tells each entry once it is acknowledged: for a test that kills it. `append-forever.ts DIRECTORY ROUND`.
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { leafHash, toHex, utf8 } from 'veritee/bytes'
import { type NoteSigner, noteSigner } from 'veritee/log'
import { Sequencer } from '../../src/log/sequencer.ts'
import { TileFiles } from '../../src/log/tile-files.ts'

/** The key of the log in a directory; one is made where there is none. */
export async function signerOf(directory: string): Promise<NoteSigner> {
  const path = join(directory, 'key.pem')
  const made = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })
  const pem = await readFile(path, 'utf8').catch(async () => {
    await writeFile(path, made)
    return made
  })
  const key = createPrivateKey(pem)
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32))
  return noteSigner('log.example/killed', 'ed25519', { publicKey, sign: (message) => new Uint8Array(sign(null, message, key)) })
}

const [, file, directory, round] = process.argv
if (file?.endsWith('append-forever.ts') === true && directory !== undefined) {
  const signer = await signerOf(directory)
  const options = { files: new TileFiles(join(directory, 'public')), state: new TileFiles(join(directory, 'state')), signer }
  const sequencer = await Sequencer.open(options)
  for (let i = 0; ; i++) {
    const additions = Array.from({ length: 90 }, (_, k) => ({ entry: utf8(`${round} ${i} ${k}`), view: null }))
    const [place] = await sequencer.append(additions)
    const leaf = toHex(await leafHash(additions[0]?.entry ?? utf8('')))
    process.stdout.write(`${JSON.stringify({ place, leaf, publicKey: toHex(signer.verifier.publicKey) })}\n`)
  }
}
