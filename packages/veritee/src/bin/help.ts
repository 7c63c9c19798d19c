import type { Command, Option } from './terminal/command.ts'

const columns = 140

/** What `veritee --help` prints. */
export function overview(version: string, commands: readonly Command[]): string {
  const lines = commands.map(({ name, operands, summary }) => [`${name}${operands === '' ? '' : ` ${operands}`}`, summary] as const)
  return [
    `veritee ${version}: check which code ran, on which genuine hardware, with which weights, on which bytes`,
    '',
    'Usage: veritee COMMAND ...',
    ...table(lines),
    '',
    'veritee COMMAND --help tells more. Exit codes: 0 accepted, 1 rejected, 2 wrong usage or policy, 3 something needed was unavailable.',
    '',
  ].join('\n')
}

/** What `veritee COMMAND --help` prints; for a first word that several commands share, all of them. */
export function helpOf(commands: readonly Command[]): string {
  return commands.map(oneHelp).join('\n')
}

function oneHelp({ name, operands, summary, options, notes, exits }: Command): string {
  const rows = Object.entries(options).map(([option, about]) => [optionUsage(option, about), optionHelp(about)] as const)
  return [
    `veritee ${name}${operands === '' ? '' : ` ${operands}`}${rows.length === 0 ? '' : ' [options]'}: ${summary}`,
    ...(rows.length === 0 ? [] : ['', ...table(rows)]),
    ...(notes.length === 0 ? [] : ['', ...notes.flatMap((note) => wrapped(note, columns))]),
    '',
    ...wrapped(
      `Exit codes: ${Object.entries(exits)
        .map(([code, meaning]) => `${code} ${meaning}`)
        .join(', ')}.`,
      columns,
    ),
    '',
  ].join('\n')
}

function optionUsage(name: string, { short, value, type }: Option): string {
  return `${short === undefined ? '' : `-${short}, `}--${name}${type === 'boolean' ? '' : ` ${value ?? 'VALUE'}`}`
}

function optionHelp({ help, choices, default: standard }: Option): string {
  const said = typeof standard === 'string' ? ` (default: ${standard})` : ''
  return `${help}${choices === undefined ? '' : `: ${choices.join(', ')}`}${said}`
}

function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.flatMap(([left, right]) => wrapped(right, columns - width - 4).map((line, i) => `  ${(i === 0 ? left : '').padEnd(width)}  ${line}`))
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
