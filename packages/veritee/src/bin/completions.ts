import { fail } from '../errors.ts'
import { type Command, command, type Option, one } from './terminal/command.ts'

const shells = ['bash', 'zsh'] as const
type Shell = (typeof shells)[number]

/** `veritee completions bash|zsh` over the table of commands. */
export function completionsCommand(commands: readonly Command[]): Command {
  return command({
    name: 'completions',
    operands: shells.join('|'),
    summary: 'print a script that completes these commands in your shell',
    options: {},
    notes: ['bash: source <(veritee completions bash)   zsh: source <(veritee completions zsh), after compinit'],
    exits: { 0: 'printed', 1: 'never', 2: 'wrong usage', 3: 'never' },
    run: async ({ positionals }) => {
      const shell = one(positionals, 'shell')
      if (!shells.includes(shell as Shell)) throw fail('usage', `expected one of ${shells.join(', ')}, found ${JSON.stringify(shell.slice(0, 40))}`)
      process.stdout.write(completionScript(shell as Shell, commands))
      return 0
    },
  })
}

/** The script for one shell. Every word in it comes from the table, which holds nothing that a shell would take for more than a word. */
export function completionScript(shell: Shell, commands: readonly Command[]): string {
  // zsh runs the function of bash, so that there is one to keep right.
  return `${shell === 'zsh' ? 'autoload -Uz bashcompinit && bashcompinit\n' : ''}${functionOver(commands)}complete -o default -F _veritee veritee\n`
}

function functionOver(commands: readonly Command[]): string {
  const first = [...new Set(commands.map(({ name }) => name.split(' ')[0] ?? ''))]
  const seconds = first.flatMap((word) => {
    const verbs = commands.flatMap(({ name }) => (name.startsWith(`${word} `) ? [name.slice(word.length + 1)] : []))
    return verbs.length === 0 ? [] : [`    ${word}) verbs='${verbs.join(' ')}' ;;\n`]
  })
  const options = commands.map(({ name, options: each }) => {
    const names = ['--help', ...Object.keys(each).map((option) => `--${option}`), ...shortNames(each)]
    return `    '${name}') options='${names.join(' ')}' ;;\n`
  })
  const values = commands.flatMap(({ name, options: each }) => valueCases(name, each))
  return `_veritee() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} verbs='' options='' name=\${COMP_WORDS[1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${first.join(' ')} --help --version' -- "$word"))
    return
  fi
  case $name in
${seconds.join('')}  esac
  case " $verbs " in
    *" \${COMP_WORDS[2]} "*) if [ "$COMP_CWORD" -gt 2 ]; then name="$name \${COMP_WORDS[2]}"; fi ;;
  esac
  case "$name $before" in
${values.join('')}  esac
  case $name in
${options.join('')}  esac
  if [ "$COMP_CWORD" -eq 2 ] && [ -n "$verbs" ]; then options="$verbs $options"; fi
  if [ "\${word#-}" != "$word" ] || { [ "$COMP_CWORD" -eq 2 ] && [ -n "$verbs" ]; }; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  fi
}
`
}

function shortNames(options: Command['options']): string[] {
  return Object.values(options).flatMap(({ short }) => (short === undefined ? [] : [`-${short}`]))
}

/** What may follow an option: its choices; a path, which the shell completes itself; or nothing that is known here. */
function valueCases(name: string, options: Command['options']): string[] {
  return Object.entries(options).flatMap(([option, about]) => {
    if (about.type === 'boolean') return []
    const patterns = [`'${name} --${option}'`, ...(about.short === undefined ? [] : [`'${name} -${about.short}'`])].join('|')
    return [`    ${patterns}) ${completionOf(about)}return ;;\n`]
  })
}

function completionOf({ choices, value }: Option): string {
  if (choices !== undefined) return `COMPREPLY=($(compgen -W '${choices.join(' ')}' -- "$word")); `
  return value === 'DIR' ? 'COMPREPLY=($(compgen -d -- "$word")); ' : ''
}
