import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatCollateral } from '../../src/attestation/index.ts'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { createBundle } from '../../src/receipt/index.ts'
import { buildForBrowser } from './build.ts'
import { chromiumPath, launchChromium } from './chromium.ts'

/** The example page in a real browser: the same verifier over WebCrypto. */

const vectors = fileURLToPath(new URL('../../../../../shared/vectors/', import.meta.url))
const at = new Date('2026-06-01T00:00:00Z')

let directory: string
let server: Server
let browser: Browser
let page: Page
const errors: string[] = []

describe.skipIf(chromiumPath === undefined)(
  `the page in Chromium${chromiumPath === undefined ? ' (left out: no Chromium is installed)' : ''}`,
  () => {
    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'veritee-page-'))
      const platform = await createSimPlatform({ at })
      const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
      await writeFile(join(directory, 'quote.bin'), await platform.quote(enclave, new Uint8Array(64)))
      await writeFile(join(directory, 'collateral.json'), formatCollateral(platform.collateral))
      const parts = { quote: await platform.quote(enclave, new Uint8Array(64)), collateral: platform.collateral }
      await writeFile(join(directory, 'bundle.json'), createBundle(parts))
      await writeFile(join(directory, 'root.pem'), certificatePem(platform.root))
      await writeFile(join(directory, 'policy.json'), JSON.stringify(policy(enclave.mrenclave)))
      const files = new Map((await buildForBrowser({ folder: 'examples/browser' })).map(({ name, content }) => [`/${name}`, content]))
      server = createServer((request, response) => {
        const content = files.get(request.url === '/' ? '/index.html' : (request.url ?? ''))
        const type = request.url?.endsWith('.js') === true ? 'text/javascript' : 'text/html; charset=utf-8'
        response.writeHead(content === undefined ? 404 : 200, { 'content-type': type }).end(content)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      browser = await launchChromium()
    }, 120_000)
    afterAll(async () => {
      await browser.close()
      server.close()
      await rm(directory, { recursive: true, force: true })
    })

    async function verify(paths: readonly string[], time: string): Promise<{ verdict: string; checks: string[]; warnings: string[] }> {
      page = await browser.newPage()
      page.on('pageerror', (error) => errors.push(error.message))
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
      await page.setInputFiles('#files', [...paths])
      await page.waitForFunction((count) => document.getElementById('names')?.textContent?.split(', ').length === count, paths.length)
      await page.fill('#at', time)
      await page.click('#verify')
      await page.waitForFunction(() => document.getElementById('verdict')?.textContent !== '')
      const result = {
        verdict: (await page.textContent('#verdict')) ?? '',
        checks: await page.locator('#checks tr').allTextContents(),
        warnings: await page.locator('#warnings li').allTextContents(),
      }
      await page.close()
      expect(errors).toEqual([])
      return result
    }

    const simulated = (...names: string[]): string[] => ['quote.bin', 'collateral.json', ...names].map((name) => join(directory, name))

    test('S15: simulated evidence is refused under the real root alone', async () => {
      const { verdict } = await verify(simulated(), at.toISOString())
      expect(verdict).toContain('REJECTED: chain_untrusted')
    })

    test('S15: and rejected as simulated where its root is passed without a policy', async () => {
      const { verdict, checks } = await verify(simulated('root.pem'), at.toISOString())
      expect(verdict).toContain('REJECTED: policy_simulated')
      expect(checks.length).toBeGreaterThan(20)
    })

    test('a policy that allows the simulator accepts it, and says SIMULATED', async () => {
      const { verdict, warnings } = await verify(simulated('root.pem', 'policy.json'), at.toISOString())
      expect(verdict).toBe('ACCEPTED, SIMULATED: this proves nothing about hardware')
      expect(warnings.join()).toContain('SIMULATED')
    })

    test('an evidence bundle is judged the same way', async () => {
      const files = ['bundle.json', 'root.pem', 'policy.json'].map((name) => join(directory, name))
      expect((await verify(files, at.toISOString())).verdict).toBe('ACCEPTED, SIMULATED: this proves nothing about hardware')
      expect((await verify(files.slice(0, 1), at.toISOString())).verdict).toContain('REJECTED: chain_untrusted')
    })

    test('an expired time is rejected', async () => {
      const { verdict } = await verify(simulated('root.pem'), '2027-06-01T00:00:00Z')
      expect(verdict).toMatch(/REJECTED: (crl|tcb_info)_expired/)
    })

    const real = existsSync(vectors) ? readdirSync(join(vectors, 'sgx')).find((name) => name.startsWith('v3-phala')) : undefined
    test.skipIf(real === undefined)(
      `a real quote is judged as Intel's library judged it${real === undefined ? ' (left out: no real vectors beside the repository)' : ''}`,
      async () => {
        const folder = join(vectors, 'sgx', real ?? '')
        const collateral = readdirSync(folder).find((name) => name.startsWith('collateral')) ?? ''
        const expected = (
          JSON.parse(readFileSync(join(vectors, 'expected.json'), 'utf8')) as { vector: string; at: number; tcbStatus: string }[]
        ).find((entry) => entry.vector.endsWith(real ?? ''))
        const { verdict, warnings } = await verify(
          [join(folder, 'quote.bin'), join(folder, collateral)],
          new Date((expected?.at ?? 0) * 1000).toISOString(),
        )
        expect(verdict).toBe('GENUINE HARDWARE; THE CODE IN IT WAS NOT JUDGED')
        expect(warnings.join()).toContain(expected?.tcbStatus)
      },
    )
  },
)

function policy(mrenclave: string): object {
  return {
    version: 'veritee.policy.v1',
    roles: {
      worker: {
        tee: ['sgx'],
        simulated: 'allow',
        physical: 'any',
        debug: 'refuse',
        identity: [{ mrenclave }],
        attributes: 'any',
        tdx: 'any',
        tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 'any', gracePeriod: 0 },
        platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
        maxCollateralAge: 'any',
        maxAttestationAge: 'any',
        models: 'any',
        engine: 'any',
        operator: 'any',
        release: 'any',
        log: 'any',
        channel: 'attested',
      },
    },
  }
}
