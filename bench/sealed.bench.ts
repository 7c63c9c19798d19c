// Opening and sealing of models, against OpenSSL's AES-256-GCM and SHA-256 over the same file read in the same pieces: what no program that decrypts
// and hashes can do without. Per CPU second, in one process and in alternating rounds. And the memory it takes, for files of two sizes.
import { spawnSync } from 'node:child_process'
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { openSealedModel } from '../packages/services/src/enclave/sealed/open.ts'
import { sealModel } from '../packages/services/src/models/sealing/seal.ts'
import { perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const megabytes = 32
const size = megabytes * 1_000_000
const pieceSize = 1 << 18

export async function run(): Promise<Figure[]> {
  const root = await mkdtemp(join(tmpdir(), 'veritee-bench-sealed-'))
  try {
    return [...(await rates(root)), ...(await memory(root))]
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

async function rates(root: string): Promise<Figure[]> {
  const plain = join(root, 'plain.gguf')
  await writeFile(plain, randomBytes(size))
  const publisher = await generateEd25519()
  const modelKey = new Uint8Array(randomBytes(32))
  const seal = async (directory: string): Promise<void> => {
    const facts = { name: 'bench', modelVersion: 1, keyId: 'models/bench/1', chatTemplateDigest: null, licence: null, created: 0 }
    await sealModel({ ...facts, files: [plain], out: directory, modelKey, publisher, chunkSize: pieceSize })
  }
  const sealed = join(root, 'sealed')
  await seal(sealed)
  const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 }
  const openAll = async (): Promise<void> => {
    const { files } = await openSealedModel(sealed, modelKey, trust)
    for (const file of files) for await (const _ of file.read());
  }
  let count = 0
  // One operation takes long enough to be timed by itself.
  const ready = (): void => undefined
  const perSecond = await perCpuSecond([
    { name: 'floor', ready, operations: [() => floor(plain)] },
    {
      name: 'open',
      ready,
      operations: [openAll],
    },
    {
      name: 'seal',
      ready,
      operations: [
        async () => {
          const directory = join(root, `again-${count++}`)
          await seal(directory)
          await rm(directory, { recursive: true })
        },
      ],
    },
  ])
  const [slow, quick] = await wallTimes([() => floor(plain), openAll])
  const rate = (name: string): number => (perSecond.get(name) ?? Number.NaN) * megabytes
  return [
    { name: 'AES-256-GCM and SHA-256 of OpenSSL', value: rate('floor'), unit: 'MB/CPU-s', target: null },
    { name: 'opening a sealed file', value: rate('open'), unit: 'MB/CPU-s', target: null },
    { name: 'opening: share of that', value: rate('open') / rate('floor'), unit: 'ratio', target: 0.6 },
    { name: 'opening: rate on the same cores, by the clock, over that', value: slow / quick, unit: 'ratio', target: 0.6 },
    { name: 'sealing a file (reading it twice and writing it included)', value: rate('seal'), unit: 'MB/CPU-s', target: null },
  ]
}

/** Milliseconds of each by the clock, the median of alternating rounds. */
async function wallTimes(contestants: readonly [() => Promise<void>, () => Promise<void>]): Promise<[number, number]> {
  const times: [number[], number[]] = [[], []]
  for (let round = 0; round < 15; round++)
    for (const [i, run] of contestants.entries()) {
      const start = performance.now()
      await run()
      times[i as 0 | 1].push(performance.now() - start)
    }
  const median = (all: number[]): number => all.sort((a, b) => a - b)[all.length >> 1] ?? Number.NaN
  return [median(times[0]), median(times[1])]
}

/** Reads, encrypts (as fast as decrypting) and hashes, and keeps nothing. */
async function floor(path: string): Promise<void> {
  const file = await open(path)
  try {
    const cipher = createCipheriv('aes-256-gcm', Buffer.alloc(32), Buffer.alloc(12))
    const hash = createHash('sha256')
    const piece = new Uint8Array(pieceSize)
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, pieceSize, null)
      if (bytesRead === 0) break
      cipher.update(piece.subarray(0, bytesRead))
      hash.update(piece.subarray(0, bytesRead))
    }
    cipher.final()
    hash.digest()
  } finally {
    await file.close()
  }
}

/** The bound is 200 MB, whatever the size: as a share that has to be 1 or more. */
async function memory(root: string): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const [gigabytes, form] of [
    [0.1, 'directory'],
    [2, 'directory'],
    [2, 'file'],
  ] as const) {
    const plain = join(root, `${gigabytes}.gguf`)
    const file = await open(plain, 'w')
    await file.truncate(gigabytes * 1e9)
    await file.close()
    const script = fileURLToPath(new URL('./sealed/memory.ts', import.meta.url))
    const { stdout, status, stderr } = spawnSync(process.execPath, ['--conditions=@veritee/source', script, plain, `${plain}.d`, form], {
      encoding: 'utf8',
    })
    if (status !== 0) throw new TypeError(`bench: ${stderr}`)
    await rm(`${plain}.d`, { recursive: true })
    const used = Number(stdout)
    const name = `most memory, sealing and opening ${gigabytes} GB, a ${form}`
    figures.push({ name, value: used, unit: 'MB', target: null }, { name: `${name}: 200 MB over it`, value: 200 / used, unit: 'ratio', target: 1 })
  }
  return figures
}
