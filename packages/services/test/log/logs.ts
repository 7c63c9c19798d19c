import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { type NoteSigner, noteSigner } from 'veritee/log'
import { afterEach } from 'vitest'
import type { Addition } from '../../src/log/sequencer.ts'
import { TileFiles } from '../../src/log/tile-files.ts'

export const origin = 'log.example/test'

const made: string[] = []
afterEach(async () => {
  for (const directory of made.splice(0)) await rm(directory, { recursive: true, force: true })
})

/** A directory that goes after the test. */
export async function scratch(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-log-'))
  made.push(directory)
  return directory
}

export async function logSigner(name = origin): Promise<NoteSigner> {
  return noteSigner(name, 'ed25519', await generateEd25519())
}

export async function witnessSigner(name = 'witness.example'): Promise<NoteSigner> {
  return noteSigner(name, 'cosignature', await generateEd25519())
}

export function numbered(from: number, count: number, prefix = 'entry'): Addition[] {
  return Array.from({ length: count }, (_, i) => ({ entry: utf8(`${prefix} ${from + i}`), view: i % 3 === 0 ? `{"view":${from + i}}` : null }))
}

export function filesIn(directory: string): { readonly files: TileFiles; readonly state: TileFiles } {
  return { files: new TileFiles(join(directory, 'public')), state: new TileFiles(join(directory, 'state')) }
}
