import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const directory = join(root, '.github/workflows')
const cache = process.env.DEPLOY_TOOLS ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee/deploy-tools')
const actionlint = join(cache, 'bin/actionlint')
const left = existsSync(actionlint) ? '' : ' (left out: actionlint is not installed)'

interface Step {
  readonly uses?: string
  readonly run?: string
  readonly with?: { readonly [name: string]: unknown }
}
interface Workflow {
  readonly permissions: unknown
  readonly jobs: { readonly [name: string]: { readonly permissions?: { readonly [name: string]: string }; readonly steps: readonly Step[] } }
}
const scripts = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { [name: string]: string } }).scripts

describe.each(readdirSync(directory))('workflow %s', (name) => {
  const text = readFileSync(join(directory, name), 'utf8')
  const { permissions, jobs } = parse(text) as Workflow
  const steps = Object.values(jobs).flatMap((job) => job.steps)

  it.skipIf(left !== '')(`is what actionlint takes${left}`, () => {
    // Without shellcheck and pyflakes, which may not be there; the scripts are one line each.
    const { status, stdout } = spawnSync(actionlint, ['-shellcheck=', '-pyflakes=', join(directory, name)], { encoding: 'utf8' })
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  })

  it('names every action by a commit, with its version beside it', () => {
    const uses = [...text.matchAll(/^\s*-?\s*uses: (.*)$/gm)].map(([, what]) => what)
    expect(uses.length).toBe(steps.filter((step) => step.uses !== undefined).length)
    for (const what of uses) expect(what).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  })

  it('may read, keeps no credentials, and asks for a signature only in a job that runs no code of the repository', () => {
    expect(permissions).toEqual({ contents: 'read' })
    for (const step of steps.filter(({ uses }) => uses?.startsWith('actions/checkout@')))
      expect(step.with).toMatchObject({ 'persist-credentials': false })
    for (const [job, { permissions: own, steps: its }] of Object.entries(jobs)) {
      if (own === undefined) continue
      expect(
        Object.entries(own).filter(([scope, access]) => access === 'write' && !['id-token', 'attestations'].includes(scope)),
        job,
      ).toEqual([])
      expect(
        its.filter(({ uses, run }) => uses?.startsWith('actions/checkout@') === true || /\b(?:npm|node)\b/.test(run ?? '')),
        job,
      ).toEqual([])
    }
    expect(text).not.toMatch(/secrets\.|pull_request_target/)
  })

  it('installs without scripts, runs scripts that there are, and puts nothing from outside into a shell', () => {
    for (const { run = '' } of steps) {
      expect(run).not.toContain('${{')
      for (const [, script = ''] of run.matchAll(/\bnpm run (?:-s )?([\w:-]+)/g)) expect(Object.keys(scripts)).toContain(script)
      if (/\bnpm (?:ci|install)\b/.test(run)) expect(run).toContain('--ignore-scripts')
    }
  })
})
