import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { consistencyProof, fromHex, leafHash, merkleRoot, toHex, utf8 } from 'veritee/bytes'
import {
  addCheckpointText,
  parseCosignatures,
  parseNote,
  signatureLine,
  signCheckpoint,
  verifierKey,
  verifyCosignature,
  verifyFork,
} from 'veritee/log'
import { beforeAll, describe, expect, it } from 'vitest'
import { litewitness } from '../../../veritee/test/log/published.ts'
import { TileFiles } from '../../src/log/tile-files.ts'
import { originHashOf, Witness, type WitnessOptions } from '../../src/log/witness.ts'
import { logSigner, origin, scratch, witnessSigner } from './logs.ts'

const now = (): Date => new Date(1_700_000_000_000)
let leaves: Uint8Array[]
beforeAll(async () => {
  leaves = await Promise.all(Array.from({ length: 20 }, (_, i) => leafHash(Uint8Array.of(i))))
})

async function setup(more: Partial<WitnessOptions> = {}) {
  const directory = await scratch()
  const log = await logSigner()
  const signer = await witnessSigner()
  const options: WitnessOptions = {
    files: new TileFiles(directory),
    signer,
    logs: [{ origin, key: log.verifier }],
    now,
    ...more,
  }
  const witness = await Witness.open(options)
  const head = async (size: number, of: readonly Uint8Array[] = leaves, by = log) =>
    signCheckpoint({ origin: by.verifier.name, size, root: await merkleRoot(of.slice(0, size)), extensions: [] }, by)
  const request = async (oldSize: number, size: number, of: readonly Uint8Array[] = leaves) =>
    addCheckpointText({
      oldSize,
      consistency: oldSize === 0 || oldSize > size ? [] : await consistencyProof(of.slice(0, size), oldSize),
      checkpoint: await head(size, of),
    })
  return { directory, log, signer, options, witness, head, request }
}

describe('a witness', () => {
  it('answers as litewitness does to what its tests send', async () => {
    const key = await verifierKey(litewitness.origin, 'ed25519', fromHex(litewitness.publicKey))
    const { witness } = await setup({ logs: [{ origin: litewitness.origin, key }] })
    const found: (readonly [number, string])[] = []
    for (const [body] of litewitness.requests) {
      const answer = await witness.addCheckpoint(body)
      found.push([answer.status, answer.contentType === 'text/x.tlog.size' ? answer.body : ''])
    }
    // The second has a signature whose base64 is not canonical: here that is no note at all.
    expect(found.map(([status]) => status)).toEqual(litewitness.requests.map(([, status]) => (status === 403 ? 400 : status)))
    expect(found.filter(([, size]) => size !== '')).toEqual([
      [409, '3\n'],
      [409, '5\n'],
    ])
  })

  it('cosigns what continues what it saw, with its time, and shows it to monitors', async () => {
    const { witness, signer, request, head } = await setup()
    for (const [from, to] of [
      [0, 5],
      [5, 5],
      [5, 12],
    ] as const) {
      const { status, body } = await witness.addCheckpoint(await request(from, to))
      expect(status).toBe(200)
      const [line] = parseCosignatures(body)
      if (line === undefined) throw new Error('no line')
      expect(await verifyCosignature(parseNote(await head(to)).text, signer.verifier, line)).toBe(1_700_000_000)
    }
    const latest = parseNote(witness.latest(originHashOf(origin)) ?? '')
    expect(latest.text).toContain('\n12\n')
    expect(latest.signatures.map(({ name }) => name)).toEqual([origin, 'witness.example'])
    expect(witness.latest(originHashOf('other'))).toBeNull()
  })

  it('keeps nothing of signatures that others put beside that of the log, under whatever name', async () => {
    const { witness, request } = await setup()
    const body = await request(0, 5)
    const junk = signatureLine({ name: origin, keyId: '00000000', signature: new Uint8Array(3000) })
    const last = body.split('\n').at(-2) ?? ''
    expect((await witness.addCheckpoint(`${body}${junk.repeat(40)}${last}\n`)).status).toBe(200)
    const { signatures } = parseNote(witness.latest(originHashOf(origin)) ?? '')
    expect(signatures.map(({ name }) => name)).toEqual([origin, 'witness.example'])
  })

  it('S21: persists the largest size before it answers: after a restart it still refuses a smaller tree and another history', async () => {
    const { witness, options, request } = await setup()
    await witness.addCheckpoint(await request(0, 10))
    const again = await Witness.open(options)
    expect(again.sizeOf(origin)).toBe(10)
    expect(await again.addCheckpoint(await request(0, 7))).toMatchObject({ status: 409, body: '10\n' })
    const forked = leaves.with(3, await leafHash(utf8('forged')))
    expect((await again.addCheckpoint(await request(10, 15, forked))).status).toBe(422)
    expect((await again.addCheckpoint(await request(10, 15))).status).toBe(200)
  })

  it('S21: refuses a fork, and keeps evidence that convicts the log', async () => {
    const told: string[] = []
    const { witness, directory, log, head, request } = await setup({ onFork: (of, path) => told.push(`${of} ${path}`) })
    await witness.addCheckpoint(await request(0, 10))
    const forked = leaves.with(3, await leafHash(utf8('forged')))
    for (const oldSize of [10, 0]) {
      const body = addCheckpointText({ oldSize, consistency: [], checkpoint: await head(10, forked) })
      expect((await witness.addCheckpoint(body)).status).toBe(422)
    }
    expect(told[0]).toContain(origin)
    const text = await readFile(join(directory, (told[0] ?? '').split(' ')[1] ?? ''), 'utf8')
    expect(await verifyFork(text, { origin, key: log.verifier })).toMatchObject({ origin, size: 10 })
    // The head that was refused is not what monitors see.
    expect(witness.latest(originHashOf(origin))).toContain(parseNote(await head(10)).text)
  })

  it('S21: what was refused without being a proof is kept too, once', async () => {
    const { witness, options, request } = await setup()
    await witness.addCheckpoint(await request(0, 10))
    const forked = leaves.with(3, await leafHash(utf8('forged')))
    await witness.addCheckpoint(await request(10, 15, forked))
    const kept = await options.files.read(`evidence/${originHashOf(origin)}-refused-10.json`)
    expect(Buffer.from(kept ?? []).toString()).toContain('\\n15\\n')
  })

  it('two requests at once do not both follow one head', async () => {
    const { witness, request } = await setup()
    await witness.addCheckpoint(await request(0, 5))
    const answers = await Promise.all([witness.addCheckpoint(await request(5, 12)), witness.addCheckpoint(await request(5, 8))])
    expect(answers.map(({ status }) => status)).toEqual([200, 409])
    expect(witness.sizeOf(origin)).toBe(12)
  })

  it('signs nothing that it could not keep', async () => {
    class Full extends TileFiles {
      override write(): Promise<void> {
        return Promise.reject(new Error('ENOSPC'))
      }
    }
    const { witness, request } = await setup({ files: new Full(await scratch()) })
    await expect(witness.addCheckpoint(await request(0, 5))).rejects.toThrow('ENOSPC')
    expect(witness.sizeOf(origin)).toBe(0)
  })

  it.each<[string, number, (s: Awaited<ReturnType<typeof setup>>) => Promise<string>]>([
    ['no request', 400, async () => 'x'],
    ['no checkpoint', 400, async () => 'old 0\n\nx\n'],
    ['an old size beyond the checkpoint', 400, ({ request }) => request(9, 5)],
    [
      'an unknown log',
      404,
      async ({ head }) => addCheckpointText({ oldSize: 0, consistency: [], checkpoint: await head(5, leaves, await logSigner('other.example')) }),
    ],
    [
      'another key of that name',
      403,
      async ({ head }) => addCheckpointText({ oldSize: 0, consistency: [], checkpoint: await head(5, leaves, await logSigner()) }),
    ],
    ['a changed root', 403, async ({ request }) => (await request(0, 5)).replace(/\n5\n/, '\n6\n')],
    [
      'a proof from nothing',
      422,
      async ({ head }) => addCheckpointText({ oldSize: 0, consistency: [new Uint8Array(32)], checkpoint: await head(5) }),
    ],
    [
      'an empty tree with a root',
      422,
      async ({ log }) =>
        addCheckpointText({
          oldSize: 0,
          consistency: [],
          checkpoint: await signCheckpoint({ origin, size: 0, root: new Uint8Array(32), extensions: [] }, log),
        }),
    ],
  ])('refused: %s', async (_, status, body) => {
    const made = await setup()
    expect((await made.witness.addCheckpoint(await body(made))).status).toBe(status)
    expect(made.witness.sizeOf(origin)).toBe(0)
  })

  it('what lies in its directory must be of the log that it knows', async () => {
    const { options, request, witness } = await setup()
    await witness.addCheckpoint(await request(0, 5))
    const other = await logSigner()
    await expect(Witness.open({ ...options, logs: [{ origin, key: other.verifier }] })).rejects.toMatchObject({ code: 'note_signature_missing' })
    expect(toHex(other.verifier.publicKey)).not.toBe('')
  })
})
