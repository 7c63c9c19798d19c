import type { ServerResponse } from 'node:http'

/** Whether a service should get requests, and why not. */
export class Readiness {
  readonly #checks: (() => readonly string[])[] = []
  /** What an operator has chosen to live with, repeated where readiness is read (rule S22). */
  readonly notices: readonly string[]

  constructor(notices: readonly string[]) {
    this.notices = notices
  }

  /** `check` gives the reasons against; none where all is well. Reasons hold no content and no credential: everybody may read them. */
  add(check: () => readonly string[]): void {
    this.#checks.push(check)
  }

  get reasons(): string[] {
    return this.#checks.flatMap((check) => check())
  }

  /** `GET /readyz`: 200 or 503, with every reason and notice. */
  answer(response: ServerResponse): void {
    const { reasons } = this
    const status = reasons.length === 0 ? 'ready' : 'not_ready'
    const body = JSON.stringify({ status, reasons, notices: this.notices })
    response
      .writeHead(reasons.length === 0 ? 200 : 503, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'cache-control': 'no-store',
      })
      .end(body)
  }
}
