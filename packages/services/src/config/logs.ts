import { type Field, onSwitch, optionalText, word } from './field.ts'

/** How a service tells its operator what happens. */
export const logs: { readonly format: Field<'text' | 'json'>; readonly requests: Field<boolean> } = {
  format: word(['text', 'json'], { flag: 'log-format', fallback: 'text', about: 'lines of the log on stderr: text for people, or JSON' }),
  requests: onSwitch({
    flag: 'log-requests',
    about: 'one line for each request that runs a model: route, status, time, ids of receipt, session and trace; never content',
  }),
}

/** Where a service sends the spans of its requests. */
export const traces: { readonly otlp: Field<string | null> } = {
  otlp: optionalText({
    flag: 'otlp-endpoint',
    pattern: /^https?:\/\/[^\s?#@]{1,255}[^\s?#@/]$/,
    expected: 'http:// or https:// URL without credentials, query or a slash at its end',
    about:
      'collector that gets the spans of requests by OTLP/HTTP, at /v1/traces of this URL: route, status, times, model, token counts and ids, never content; none where not given',
  }),
}
