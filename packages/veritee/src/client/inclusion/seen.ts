import { type LogTrust, parseSeen, type SeenCheckpoint, seenText } from '../../log/index.ts'

/** Keeps the largest checkpoint relied on of each log. What it keeps is read as a document and its signature verified; a store that forgets lets a log change its past unseen. */
export interface SeenKeep {
  /** Null where nothing was kept yet, and only then. Throws where what was kept cannot be read. */
  get(origin: string): Promise<string | null>
  put(origin: string, text: string): Promise<void>
}

/** For as long as the process runs. */
export function memorySeen(): SeenKeep {
  const kept = new Map<string, string>()
  return {
    get: async (origin) => kept.get(origin) ?? null,
    put: async (origin, text) => void kept.set(origin, text),
  }
}

/** Throws what `parseSeen` throws for what is damaged: that is not "nothing seen". */
export async function readSeen(keep: SeenKeep, trust: LogTrust): Promise<SeenCheckpoint | null> {
  const text = await keep.get(trust.origin)
  return text === null ? null : parseSeen(text, trust)
}

/** Keeps a checkpoint, unless a larger one was kept meanwhile. */
export async function keepSeen(keep: SeenKeep, trust: LogTrust, next: SeenCheckpoint): Promise<void> {
  const kept = await readSeen(keep, trust)
  if (kept === null || kept.size < next.size) await keep.put(trust.origin, seenText(next))
}
