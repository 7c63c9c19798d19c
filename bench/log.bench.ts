// What a transparency log costs, in CPU time of this process, its file threads included: appending, durable, with the views behind entries and without; verifying what
// enclaves submit; making proofs from tiles, and verifying them. On a directory of the temporary file system's disk.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromUtf8, leafHash } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import {
  auditViewOf,
  cosign,
  logEntry,
  noteSigner,
  parseLogTrust,
  parseNote,
  type SignedCheckpoint,
  signatureLine,
  signLogStatement,
  verifierKeyText,
  verifyTlogProof,
} from 'veritee/log'
import { type Addition, Sequencer } from '../packages/services/src/log/sequencer.ts'
import { Submissions, submissionText } from '../packages/services/src/log/submission.ts'
import { TileFiles } from '../packages/services/src/log/tile-files.ts'
import { Enclave, inference } from '../packages/veritee/test/log/signed-receipt.ts'
import type { Figure } from './run.ts'

const origin = 'log.example/bench'
const leaves = 262_144
/** As much as an enclave submits at once, and as many as submit at once. */
const submission = 512
const submitters = 32

export async function run(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-log-'))
  try {
    const signer = await noteSigner(origin, 'ed25519', await generateEd25519())
    const open = (name: string): Promise<Sequencer> =>
      Sequencer.open({ files: new TileFiles(join(directory, name, 'public')), state: new TileFiles(join(directory, name, 'state')), signer })
    const { text: view, enclave } = await statement(0)
    const bare = await appendRate(await open('bare'), null)
    const log = await open('views')
    const withViews = await appendRate(log, view)
    const started = await cpuOf(async () => void (await open('views')))

    const texts: string[] = []
    for (let i = 0; i < 256; i++) texts.push((await statement(i, enclave)).text)
    const body = fromUtf8(submissionText({ version: 'veritee.log-submission.v1', keyset: enclave.keyset, operator: null, statements: texts }))
    const submissions = new Submissions(origin, 'any')
    const admitted = await perCpuSecond(256, () => submissions.read(body), 12)
    const key = randomBytes(32)
    const receipt = await enclave.receipt(origin, 1_800_000_000, inference, key)
    const made = await perCpuSecond(1, async () => signLogStatement(await auditViewOf(receipt, key), (message) => enclave.key.sign(message)), 2000)

    const places = Array.from({ length: 400 }, (_, i) => (i * 7919) % leaves)
    const entry = (place: number): Promise<Uint8Array> => Promise.resolve(entryOf(place))
    let proofs: string[] = []
    const { head, trust } = await witnessed(log.head, signer)
    const proven = await perCpuSecond(places.length, async () => {
      proofs = await Promise.all(places.map(async (place) => (await log.proof(await leafHash(await entry(place)), head)) ?? ''))
    })
    const verified = await perCpuSecond(places.length, async () => {
      for (const [i, place] of places.entries()) await verifyTlogProof(proofs[i] ?? '', await entry(place), trust)
    })
    return [
      { name: 'leaves appended, with the views behind them', value: withViews, unit: '/CPU s', target: 20_000 },
      { name: 'leaves appended, without views', value: bare, unit: '/CPU s', target: 20_000 },
      { name: `start on ${leaves} leaves`, value: started * 1000, unit: 'ms CPU', target: null },
      { name: 'statements of a submission verified', value: admitted, unit: '/CPU s', target: null },
      { name: 'audit views made and signed', value: made, unit: '/CPU s', target: null },
      { name: 'proofs made from tiles', value: proven, unit: '/CPU s', target: null },
      { name: 'proofs verified, two witnesses', value: verified, unit: '/CPU s', target: null },
    ]
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** 32 bytes, as the hash of a statement has. */
function entryOf(place: number): Uint8Array {
  const entry = new Uint8Array(32)
  new DataView(entry.buffer).setUint32(0, place)
  return entry
}

async function appendRate(log: Sequencer, view: string | null): Promise<number> {
  let next = 0
  const submit = async (): Promise<void> => {
    while (next < leaves) {
      const from = next
      next += submission
      await log.append(Array.from({ length: submission }, (_, i): Addition => ({ entry: entryOf(from + i), view })))
    }
  }
  const seconds = await cpuOf(async () => void (await Promise.all(Array.from({ length: submitters }, submit))))
  if (log.head.size !== leaves) throw new Error(`expected ${leaves} leaves, found ${log.head.size}`)
  return leaves / seconds
}

async function statement(i: number, given?: Enclave): Promise<{ readonly text: string; readonly enclave: Enclave }> {
  const enclave = given ?? (await Enclave.create())
  const key = randomBytes(32)
  const view = await auditViewOf(await enclave.receipt(origin, 1_800_000_000 + i, inference, key), key)
  await logEntry(view)
  return { text: await signLogStatement(view, (message) => enclave.key.sign(message)), enclave }
}

/** The head with the cosignatures of two witnesses, and who relies on both. */
async function witnessed(head: SignedCheckpoint, signer: Awaited<ReturnType<typeof noteSigner>>) {
  const witnesses = await Promise.all(['w1.example', 'w2.example'].map(async (name) => noteSigner(name, 'cosignature', await generateEd25519())))
  const lines = await Promise.all(witnesses.map((witness) => cosign(parseNote(head.note).text, witness, 1_800_000_000)))
  const keys = witnesses.map(({ verifier }) => verifierKeyText(verifier))
  const trust = await parseLogTrust({ origin, key: verifierKeyText(signer.verifier), witnesses: keys, quorum: 2 })
  return { head: { ...head, note: head.note + lines.map(signatureLine).join('') }, trust }
}

async function cpuOf(act: () => Promise<void>): Promise<number> {
  const start = process.cpuUsage()
  await act()
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1e6
}

/** Operations per CPU second, after one round to warm up. */
async function perCpuSecond(operations: number, act: () => Promise<unknown>, rounds = 5): Promise<number> {
  await act()
  const seconds = await cpuOf(async () => {
    for (let round = 0; round < rounds; round++) await act()
  })
  return (rounds * operations) / seconds
}
