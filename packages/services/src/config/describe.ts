import type { Field, Sections } from './field.ts'
import { commonFlags, fieldsOf, type Schema } from './schema.ts'

/** The text of `--help`, from the schema. */
export function helpText<S extends Sections>(schema: Schema<S>, summary: string): string {
  const lines = [
    ...fieldsOf(schema)
      .filter(({ field }) => field.flag !== null)
      .map(({ field }) => [`--${field.flag}${field.kind === 'switch' ? '' : field.kind === 'list' ? ' ...' : ' V'}`, describe(field)] as const),
    ...Object.values(schema.secrets).map(({ flag, variable, about }) => [`--${flag} FILE`, `${about}; or ${variable}`] as const),
    ...Object.entries(commonFlags).map(([name, about]) => [`--${name}${name === 'config' ? ' FILE' : ''}`, about] as const),
  ]
  const width = Math.max(...lines.map(([name]) => name.length)) + 2
  return `${summary}

Options (... : may be repeated):
${lines.map(([name, about]) => `  ${name.padEnd(width)}${about}`).join('\n')}

Exit codes: 0 stopped in good order, 1 something was rejected, 2 wrong usage or configuration, 3 something needed was unavailable.
`
}

function describe(field: Field<unknown>): string {
  if (field.kind === 'switch') return field.about
  const fallback = field.fallback === undefined ? 'must be said' : field.fallback === null ? null : shown(field.fallback)
  return `${field.about} (${field.expected}${fallback === null ? '' : `; ${fallback}`})`
}

function shown(fallback: unknown): string | null {
  return Array.isArray(fallback) ? null : `default ${String(fallback)}`
}

/** The table of docs/configuration.md, from the schema; a test compares the two. */
export function markdownTable<S extends Sections>(schema: Schema<S>): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|')
  const rows = fieldsOf(schema).map(({ path, field }) => {
    const fallback = field.fallback === undefined ? 'none: must be said' : `\`${JSON.stringify(field.fallback)}\``
    return `| \`${path}\` | ${field.flag === null ? '' : `\`--${field.flag}\``} | ${cell(field.expected)} | ${fallback} | ${cell(field.about)} |`
  })
  const secrets = Object.values(schema.secrets).map(
    ({ flag, variable, about, minLength = 32 }) =>
      `| \`${variable}\` | \`--${flag}\` | a secret: ${minLength} to 512 visible ASCII characters | | ${cell(about)} |`,
  )
  return ['| member | flag | value | default | |', '|---|---|---|---|---|', ...rows, ...secrets].join('\n')
}
