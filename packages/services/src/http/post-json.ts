import { fetchJson } from './fetch-json.ts'

export type PostJson = (url: string, body: unknown) => Promise<unknown>

/** POSTs JSON and reads a JSON answer of at most 1 MiB within 5 s. Throws as {@link fetchJson}. */
export function postJson(url: string, body: unknown): Promise<unknown> {
  return fetchJson(url, { method: 'POST', body, timeoutMs: 5_000, maxBytes: 1 << 20 })
}
