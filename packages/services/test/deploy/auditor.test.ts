import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { checkout, commandsOf, runScript } from './guide.ts'
import { makeImage } from './image.ts'

it("S25: the auditor's walkthrough runs as it stands on its page: a release is made, built again, compared, and a changed one refused", async () => {
  const text = await commandsOf('docs/auditor-guide.md', '## Walkthrough')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(10)
  const clone = await checkout()
  const image = await makeImage()
  const release = await mkdtemp(join(tmpdir(), 'veritee-auditor-'))
  try {
    const env = { RELEASE: release, BASE: image.root, NODE: image.node }
    const { code, output } = await runScript(text, { cwd: clone.directory, env })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    expect(output).toMatch(/rebuilt: \{"enclaves":2,"compared":\["commit","inputs","bundle","manifest","Node and files of the base image"/)
    // The changed inputs were refused by their digest.
    expect(output).toMatch(/release_not_reproduced: [^\n]*worker, haswell, Gramine 1.9: expected inputs/)
    expect(output).toContain('an enclave of a release, by its measurement')
    expect(JSON.parse(await readFile(join(release, 'enclave.cdx.json'), 'utf8'))).toMatchObject({ bomFormat: 'CycloneDX' })
  } finally {
    await Promise.all([clone.remove(), image.remove(), rm(release, { recursive: true, force: true })])
  }
}, 600_000)
