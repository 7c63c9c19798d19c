import { expect, it } from 'vitest'
import { merkleRoot } from '../../src/bytes/index.ts'
import { generateEd25519 } from '../../src/crypto/index.ts'
import { checkpointText, cosign, type NoteSigner, noteSigner, noteText, parseNote, signCheckpoint, verifyCheckpoint } from '../../src/log/index.ts'

const origin = 'times/log'

it('S16: a witness that lies moves neither time beyond what an honest one said, on its side', async () => {
  const log = await noteSigner(origin, 'ed25519', await generateEd25519())
  const witnesses = await Promise.all(['a', 'b', 'c'].map(async (name) => noteSigner(name, 'cosignature', await generateEd25519())))
  const head = { origin, size: 0, root: await merkleRoot([]), extensions: [] }
  const { text, signatures } = parseNote(await signCheckpoint(head, log))
  const trust = { origin, key: log.verifier, witnesses: witnesses.map(({ verifier }) => verifier), quorum: 2 }
  const times = async (...said: readonly number[]): Promise<readonly [number, number]> => {
    const cosigned = await Promise.all(said.map((at, i) => cosign(checkpointText(head), witnesses[i] as NoteSigner, at)))
    const { witnessedAt, existedBy } = await verifyCheckpoint(noteText({ text, signatures: [...signatures, ...cosigned] }), trust)
    return [witnessedAt, existedBy]
  }
  expect(await times(1000, 1000)).toEqual([1000, 1000])
  // The second lies: whoever needs "after" goes by the first number, whoever needs "before" by the second.
  expect(await times(1000, 10)).toEqual([10, 1000])
  expect(await times(1000, 9000)).toEqual([1000, 9000])
  expect(await times(1000, 10, 1004)).toEqual([1000, 1000])
  expect(await times(1000, 9000, 1004)).toEqual([1004, 1004])
})
