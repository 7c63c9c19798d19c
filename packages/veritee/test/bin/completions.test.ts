import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { commands } from '../../src/bin/commands.ts'
import { completionScript } from '../../src/bin/completions.ts'
import { expectRefusal, veritee } from './cli.ts'

const bash = ['/bin/bash', '/usr/bin/bash'].find((path) => existsSync(path))
const zsh = ['/bin/zsh', '/usr/bin/zsh'].find((path) => existsSync(path))

/** What the shell would offer for the last of these words. */
function offered(...words: string[]): string[] {
  const script = `${completionScript('bash', commands)}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _veritee; printf '%s\\n' "\${COMPREPLY[@]}"`
  const out = execFileSync(bash ?? '', ['-c', script, 'bash', 'veritee', ...words], { encoding: 'utf8' })
  return out.split('\n').filter((line) => line !== '')
}

describe('the table of commands', () => {
  it('every command has its help, with each option and every exit code in it', async () => {
    for (const { name, options, summary } of commands) {
      const { code, stdout } = await veritee([...name.split(' '), '--help'])
      expect([code, stdout.includes(summary)]).toEqual([0, true])
      for (const option of Object.keys(options)) expect(stdout).toContain(`--${option}`)
      for (const exit of [0, 1, 2, 3]) expect(stdout.replace(/\s+/g, ' ')).toContain(` ${exit} `)
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThan(150)
    }
  })
  it('S14: every command that relies on an answer or leads to sending takes a policy', () => {
    const relying = ['verify', 'watch', 'chat', 'proxy', 'receipt verify', 'audit']
    for (const name of relying) expect(commands.find((command) => command.name === name)?.options).toHaveProperty('policy')
  })
  it('a first word alone names what may follow', async () => {
    expectRefusal(await veritee(['policy']), 2, 'usage')
    expect((await veritee(['policy', 'nonsense'])).stderr).toContain('veritee policy explain')
    expect((await veritee(['policy', '--help'])).stdout).toContain('veritee policy accept')
  })
})

describe.skipIf(bash === undefined)(`completions in bash${bash === undefined ? ' (left out: there is no bash)' : ''}`, () => {
  it.each<[string, string[], readonly string[]]>([
    ['commands', ['ver'], ['verify']],
    ['verbs', ['policy', ''], ['init', 'accept', 'check', 'explain']],
    ['options', ['watch', 'http://x', '--inter'], ['--interval']],
    ['options of a command of two words', ['bundle', 'create', '--qu'], ['--quote']],
    ['choices', ['verify', 'x', '--role', 'w'], ['worker']],
    ['no options where a path stands', ['verify', ''], []],
  ])('%s', (_, words, expected) => {
    expect(offered(...words)).toEqual(expected)
  })
})

it.skipIf(zsh === undefined)(`the script is one that zsh reads${zsh === undefined ? ' (left out: there is no zsh)' : ''}`, () => {
  expect(execFileSync(zsh ?? '', ['-nc', completionScript('zsh', commands)], { encoding: 'utf8' })).toBe('')
})

it('completions of an unknown shell is 2', async () => {
  expectRefusal(await veritee(['completions', 'fish']), 2, 'usage')
  expect((await veritee(['completions', 'zsh'])).stdout).toContain('bashcompinit')
})
