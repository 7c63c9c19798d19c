import { type Json, parseJson, Shape } from 'veritee/bytes'
import { fetchText, nodeTransport } from 'veritee/client'
import { VeriteeError } from 'veritee/errors'
import { parseSession } from 'veritee/receipt'
import type { NamedReports } from '../named-reports.ts'
import type { EpochStore } from '../store/epoch-store.ts'

const shape = new Shape('session_mismatch')
const maxList = 1 << 22
const maxSession = 1 << 21

/**
 * Reports that bind the keysets of audit views: of workers that own probes have met, and of those that a controller serves with now. Nothing of them is verified here; a report that binds another keyset
 * does the one who looks for it no good, and one that came by others may lack its operator's signature, which is under no quote: so there may be several.
 */
export class Reports {
  readonly #store: Pick<EpochStore, 'reportOf'>
  readonly #named: NamedReports | null
  readonly #controllers: readonly string[]
  readonly #served = new Map<string, Promise<string | null>>()

  /** `controllers`: their URLs. */
  constructor(store: Pick<EpochStore, 'reportOf'>, named: NamedReports | null, controllers: readonly string[]) {
    this.#store = store
    this.#named = named
    this.#controllers = controllers
  }

  /** One after the other, until who looks has one that will do. Each controller is asked once for a keyset. */
  async *of(keyset: string): AsyncGenerator<string> {
    const named = (await this.#named?.of(keyset)) ?? null
    if (named !== null) yield named
    const own = await this.#store.reportOf(keyset)
    if (own !== null && own !== named) yield own
    for (const url of this.#controllers) {
      const report = await this.#servedBy(url, keyset)
      if (report !== null) yield report
    }
  }

  #servedBy(url: string, keyset: string): Promise<string | null> {
    const asked = `${url} ${keyset}`
    const found =
      this.#served.get(asked) ??
      servedBy(url, keyset).catch((error: unknown) => {
        if (error instanceof VeriteeError) return null
        throw error
      })
    this.#served.set(asked, found)
    return found
  }
}

/** From the session of the worker with this keyset. */
async function servedBy(url: string, keyset: string): Promise<string | null> {
  const transport = nodeTransport(url)
  const get = (path: string, maxBytes: number): Promise<string> => fetchText(transport, { method: 'GET', path }, maxBytes, 'receipt_missing')
  try {
    const list = parseJson(await get('/v1/aci/sessions', maxList), { maxLength: maxList, maxDepth: 8 })
    const sessions = shape.array(shape.record(list, 'list').sessions, 'sessions', 10_000).map((item, i) => {
      const session = shape.record(item, `sessions[${i}]`)
      return { id: session.session_id, keyset: shape.record(session.identity, 'identity').workload_keyset_digest }
    })
    const id = sessions.find((session) => session.keyset === keyset)?.id
    if (id === undefined) return null
    const session = shape.hex(id, 'session_id', 32)
    const { document } = await parseSession(await get(`/v1/aci/sessions/${session}`, maxSession), session)
    const { data } = document.evidence
    const evidence = parseJson(Buffer.from(data.slice(data.indexOf(',') + 1), 'base64').toString('utf8'), { maxLength: maxSession, maxDepth: 20 })
    return JSON.stringify(shape.record(evidence, 'evidence').report as Json)
  } finally {
    transport.close()
  }
}
