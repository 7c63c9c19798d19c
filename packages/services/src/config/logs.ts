import { type Field, onSwitch, word } from './field.ts'

/** How a service tells its operator what happens. */
export const logs: { readonly format: Field<'text' | 'json'>; readonly requests: Field<boolean> } = {
  format: word(['text', 'json'], { flag: 'log-format', fallback: 'text', about: 'lines of the log on stderr: text for people, or JSON' }),
  requests: onSwitch({
    flag: 'log-requests',
    about: 'one line for each request that runs a model: route, status, time, ids of receipt, session and trace; never content',
  }),
}
