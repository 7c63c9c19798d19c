/** What happened, as a word of a closed set: what alarms and searches hang on. Never renamed. */
export type EventCode =
  | 'service.note'
  | 'service.ready'
  | 'service.stopping'
  | 'service.stopped'
  | 'service.fault'
  | 'service.listening'
  | 'drain.cut_off'
  | 'keys.renewed'
  | 'keys.renewal_failed'
  | 'manifest.accepted'
  | 'manifest.refused'
  | 'release.accepted'
  | 'release.refused'
  | 'limits.accepted'
  | 'limits.refused'
  | 'manifest.ended'
  | 'replicas.joined'
  | 'replicas.heard'
  | 'replicas.unreached'
  | 'worker.admitted'
  | 'worker.quarantined'
  | 'worker.ban_lifted'
  | 'worker.admission'
  | 'model.loaded'
  | 'engine.changed'
  | 'store.failing'
  | 'store.recovered'
  | 'store.opened'
  | 'broker.decision'
  | 'witness.fork'
  | 'traces.failing'
  | 'traces.recovered'
  | 'request.finished'

export type Level = 'info' | 'warn' | 'error'

/** What a line says beside its message. Ids, counts and words of closed sets: nothing that somebody wrote into a request. */
export interface About {
  readonly event: EventCode
  readonly level?: Level
  readonly receipt_id?: string | null
  readonly session_id?: string | null
  readonly trace_id?: string
  readonly span_id?: string
  readonly parent_span_id?: string | null
  readonly http_route?: string
  readonly http_status?: number
  readonly outcome?: 'answered' | 'cut_off'
  readonly duration_ms?: number
}

/** Tells the operator something: one line, no content, no secret. */
export type Report = (line: string, about?: About) => void

export interface LogOptions {
  readonly format: 'text' | 'json'
  readonly role: string
  readonly write: (line: string) => void
  readonly now: () => Date
}

/** Messages repeat what peers said; each of them is one line of bounded length. */
const maxMessage = 2_000

/**
 * The log of a service, on whatever `write` writes to. `text`: the message, and ids behind it. `json`: one object a line. Credentials and queries of URLs are cut out of
 * messages, for the case that one of them got there by mistake.
 */
export function createLog({ format, role, write, now }: LogOptions): Report {
  if (format === 'text')
    return (line, about) => {
      const { event: _, level: __, ...ids } = about ?? { event: 'service.note' }
      const said = Object.entries(ids).filter(([, value]) => value !== null)
      write(`${messageOf(line)}${said.map(([name, value]) => ` ${name}=${value}`).join('')}\n`)
    }
  return (line, about) => {
    const { event = 'service.note', level = 'info', ...ids } = about ?? {}
    write(`${JSON.stringify({ time: now().toISOString(), level, event, role, message: messageOf(line), ...ids })}\n`)
  }
}

function messageOf(line: string): string {
  return line
    .slice(0, maxMessage)
    .toWellFormed()
    .replace(/\/\/[^/\s"@]*@/g, '//...@')
    .replace(/(https?:\/\/[^\s"?#]*)[?#][^\s"]*/g, '$1?...')
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?')
}
