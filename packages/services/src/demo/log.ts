import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { leafHash, toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { type AuditView, logEntry, noteSigner, parseLogStatement, verifierKeyText } from 'veritee/log'
import type { AuditedView } from 'veritee/scoring'
import type { LogLink } from '../enclave/runtime/receipts/log-link.ts'
import { Sequencer } from '../log/sequencer.ts'
import { TileFiles } from '../log/tile-files.ts'

/** The demo's transparency log: a real one, in this process, without a witness. */
export interface DemoLog {
  readonly origin: string
  /** Verifier key, as signed notes name it. */
  readonly key: string
  /** Appends bytes; gives their place. */
  append(entry: Uint8Array): Promise<number>
  /** For enclaves, whose promises it keeps. */
  readonly link: LogLink
  /** Where the entry of a view stands, or null. */
  find(view: AuditView): Promise<AuditedView['log']>
  /** The head, as a signed note. */
  head(): string
}

const demoLogOrigin = 'veritee-demo/log'

export async function startDemoLog(closing: (() => Promise<unknown>)[]): Promise<DemoLog> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-log-'))
  closing.push(() => rm(directory, { recursive: true, force: true }))
  const signer = await noteSigner(demoLogOrigin, 'ed25519', await generateEd25519())
  const sequencer = await Sequencer.open({ files: new TileFiles(join(directory, 'public')), state: new TileFiles(join(directory, 'state')), signer })
  closing.push(() => sequencer.close())
  const append = async (entry: Uint8Array): Promise<number> => {
    const [place] = await sequencer.append([{ entry, view: null }])
    if (place === undefined) throw new Error('the log gave no place')
    return place
  }
  return {
    origin: demoLogOrigin,
    key: verifierKeyText(signer.verifier),
    append,
    link: {
      origin: demoLogOrigin,
      promiseSeconds: 600,
      keep: async (_, statements) => {
        const texts = statements.map((text) => ({ view: text, entry: logEntry(parseLogStatement(text).statement) }))
        await sequencer.append(await Promise.all(texts.map(async ({ view, entry }) => ({ view, entry: await entry }))))
      },
    },
    find: async (view) => {
      const leaf = await leafHash(await logEntry(view))
      const index = await sequencer.find(leaf)
      return index === null ? null : { origin: demoLogOrigin, index, leaf: toHex(leaf) }
    },
    head: () => sequencer.head.note,
  }
}
