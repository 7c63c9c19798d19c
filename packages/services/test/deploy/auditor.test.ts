import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'
import { checkout, commandsOf, runScript } from './guide.ts'
import { makeImage } from './image.ts'

it("S25: the auditor's walkthrough runs as it stands on its page: a release is made, built again, compared, and a changed one refused", async () => {
  const text = await commandsOf('docs/auditor-guide.md', '## Walkthrough')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(10)
  const clone = await checkout()
  const image = await makeImage()
  const port = Number(await freePortBase())
  const release = await mkdtemp(join(tmpdir(), 'veritee-auditor-'))
  try {
    const env = { RELEASE: release, BASE: image.root, NODE: image.node, LOG: String(port), WITNESS: String(port + 1) }
    const { code, output } = await runScript(text, { cwd: clone.directory, env })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    expect(output).toMatch(/rebuilt: \{"enclaves":2,"compared":\["commit","inputs","bundle","manifest","Node and files of the base image"/)
    // The changed inputs were refused by their digest.
    expect(output).toMatch(/release_not_reproduced: [^\n]*worker, haswell, Gramine 1.9: expected inputs/)
    expect(output).toMatch(/^release 0\.1\.0 counts for a worker until \S+, with 0 measurements$/m)
    expect(output).toContain('log_entry_missing')
    expect(output).toContain('an enclave of a release, by its measurement')
    expect(JSON.parse(await readFile(join(release, 'enclave.cdx.json'), 'utf8'))).toMatchObject({ bomFormat: 'CycloneDX' })
  } finally {
    await Promise.all([clone.remove(), image.remove(), rm(release, { recursive: true, force: true })])
  }
}, 600_000)
