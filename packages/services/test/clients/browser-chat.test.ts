import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { certificatePem } from 'veritee/attestation/issue'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { buildForBrowser } from '../../../veritee/test/browser/build.ts'
import { chromiumPath, launchChromium } from '../../../veritee/test/browser/chromium.ts'
import { crossOrigin } from '../../src/http/cross-origin.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, startNetwork } from '../e2e/network.ts'

/** The chat page in a real browser, against a whole network; between the two a server that reads along and may change everything. */

const secret = 'what is the capital of japan'

/** What the server between page and controller does to what passes. */
interface Meddling {
  readonly onAnswer?: (path: string, headers: { [name: string]: string | string[] | undefined }, body: Buffer) => Buffer
}

let network: Network
let directory: string
let server: Server
let browser: Browser
let files: Map<string, string | Uint8Array>
let meddling: Meddling = {}
const seen: { path: string; body: Buffer }[] = []

describe.skipIf(chromiumPath === undefined)(
  `the chat page in Chromium${chromiumPath === undefined ? ' (left out: no Chromium is installed)' : ''}`,
  { timeout: 60_000 },
  () => {
    beforeAll(async () => {
      network = await startNetwork()
      directory = await mkdtemp(join(tmpdir(), 'veritee-chat-page-'))
      await writeFile(join(directory, 'policy.json'), JSON.stringify(network.policy))
      const { controller, worker } = network.policy.roles
      const other = { ...network.policy, roles: { worker, controller: { ...controller, identity: worker?.identity } } }
      await writeFile(join(directory, 'other.json'), JSON.stringify(other))
      await writeFile(join(directory, 'root.pem'), certificatePem(network.machine.platform.root))
      files = new Map((await buildForBrowser({ folder: 'examples/browser/chat' })).map(({ name, content }) => [`/${name}`, content]))
      server = createServer((incoming, response) => {
        const path = incoming.url === '/' ? '/index.html' : (incoming.url ?? '')
        const content = files.get(path)
        if (content === undefined) return void pass(incoming, response)
        response.writeHead(200, { 'content-type': path.endsWith('.js') ? 'text/javascript' : 'text/html; charset=utf-8' }).end(content)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      browser = await launchChromium()
    }, 120_000)
    afterAll(async () => {
      await browser.close()
      server.closeAllConnections()
      server.close()
      await network.close()
      await rm(directory, { recursive: true, force: true })
    })
    afterEach(() => {
      meddling = {}
      seen.length = 0
    })

    /** Everything that passes is read, and changed as the test wants it. */
    async function pass(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
      const parts: Buffer[] = []
      for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part)
      const path = incoming.url ?? ''
      seen.push({ path, body: Buffer.concat(parts) })
      const { host: _host, origin: _origin, ...headers } = incoming.headers
      const onward = request(new URL(path, network.controller.api.url), { method: incoming.method ?? 'GET', headers }, async (answer) => {
        const { onAnswer } = meddling
        if (onAnswer === undefined) {
          response.writeHead(answer.statusCode ?? 502, answer.headers)
          answer.pipe(response)
          return
        }
        const body: Buffer[] = []
        for await (const part of answer as AsyncIterable<Buffer>) body.push(part)
        const changed = { ...answer.headers }
        delete changed['transfer-encoding']
        delete changed['content-length']
        delete changed.trailer
        const edited = onAnswer(path.split('?')[0] ?? '', changed, Buffer.concat(body))
        response.writeHead(answer.statusCode ?? 502, changed).end(edited)
      })
      onward.on('error', () => response.destroy())
      onward.end(Buffer.concat(parts))
    }

    async function opened(
      whom: 'controller' | 'worker',
      files: readonly string[] = ['policy.json', 'root.pem'],
      from = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    ): Promise<{ page: Page; errors: string[] }> {
      // The certificate of a keyset is its own: what it is worth, the page finds out.
      const page = await browser.newPage({ ignoreHTTPSErrors: true })
      const errors: string[] = []
      page.on('pageerror', (error) => errors.push(error.message))
      await page.goto(from)
      const [policy = '', root] = files
      await page.setInputFiles('#policy', join(directory, policy))
      if (root !== undefined) await page.setInputFiles('#root', join(directory, root))
      await page.selectOption('#whom', whom)
      await page.click('#connect button')
      await page.waitForFunction(() => !/verif(?:ying|ied$).*…|^not verified$/.test(document.getElementById('service')?.textContent ?? ''))
      return { page, errors }
    }

    async function asked(page: Page, prompt = secret): Promise<{ badge: string; classes: string; text: string }> {
      await page.fill('#prompt', prompt)
      await page.click('#send')
      await page.waitForFunction(() => document.querySelector('#conversation details') !== null)
      const line = page.locator('.said').last()
      return {
        badge: (await line.locator('.badge').textContent()) ?? '',
        classes: (await line.locator('.badge').getAttribute('class')) ?? '',
        text: (await line.textContent()) ?? '',
      }
    }
    const posts = (): { path: string; body: Buffer }[] => seen.filter(({ path }) => path === '/v1/chat/completions')

    test.each(['controller', 'worker'] as const)(
      'encrypted to the %s: verified in the page, SIMULATED, and the server between reads nothing',
      async (whom) => {
        const { page, errors } = await opened(whom)
        expect(await page.textContent('#service')).toBe('SIMULATED verified')
        const { badge, classes, text } = await asked(page)
        expect([badge, classes]).toEqual(['SIMULATED verified', 'badge simulated'])
        expect(text).toContain('Tokyo')
        expect(text).toContain('This is exactly the answer that was signed')
        expect(text).toContain(`Encrypted to the ${whom}`)
        expect(posts()).toHaveLength(1)
        expect(seen.some(({ body }) => body.includes('capital'))).toBe(false)
        expect(errors).toEqual([])
        await page.close()
      },
    )

    describe('served from another origin than the service, with nothing between page and controller', () => {
      let pages: Server
      let service: Listening
      let reached: string[] = []
      const versions = new Set<string>()

      /** The page names its service, as whoever puts it up writes it. */
      async function host(origins: (page: string) => readonly string[], over: 'plain HTTP' | 'TLS' = 'plain HTTP'): Promise<string> {
        pages = createServer((incoming, response) => {
          const path = incoming.url === '/' ? '/index.html' : (incoming.url ?? '')
          const content = files.get(path)
          if (content === undefined) return void response.writeHead(404).end()
          const type = path.endsWith('.js') ? 'text/javascript' : 'text/html; charset=utf-8'
          const page = String(content)
            .replace("connect-src 'self'", `connect-src ${service.url}`)
            .replace('name="service" content=""', `name="service" content="${service.url}"`)
          response.writeHead(200, { 'content-type': type }).end(path === '/index.html' ? page : content)
        })
        await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
        const page = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`
        const { api, identity, keysetDigestOf } = network.controller.controller
        const offered = over === 'TLS' ? ({ tls: identity.tls, http2: 'requesters' } as const) : { tls: null }
        const bind = { host: '127.0.0.1', port: 0, ...offered, simulated: true, apiKeys: false, crossOrigin: crossOrigin(origins(page), 'api') }
        service = await listen(
          bind,
          (incoming, response) => {
            versions.add(incoming.httpVersion)
            reached.push(`${incoming.method} ${incoming.url?.split('?')[0]}`)
            api(incoming, response)
          },
          keysetDigestOf,
        )
        return `${page}/`
      }
      afterEach(async () => {
        reached = []
        versions.clear()
        pages.closeAllConnections()
        pages.close()
        await service.close()
      })

      test.each<['controller' | 'worker', string, (page: string) => readonly string[]]>([
        ['controller', 'its origin is allowed', (page) => [page]],
        ['worker', 'its origin is allowed', (page) => [page]],
        ['controller', 'every origin is', () => ['*']],
      ])('S22: it connects by EHBP, encrypted to the %s, and verifies, where %s', async (whom, _, origins) => {
        const { page, errors } = await opened(whom, undefined, await host(origins))
        expect(await page.textContent('#service')).toBe('SIMULATED verified')
        const { badge, text } = await asked(page)
        expect(badge).toBe('SIMULATED verified')
        expect(text).toContain('Tokyo')
        expect(text).toContain(`Encrypted to the ${whom}`)
        expect(reached).toContain('POST /v1/chat/completions')
        expect(errors).toEqual([])
        await page.close()
      })

      test.each(['controller', 'worker'] as const)('S22: over TLS it comes by HTTP/2, encrypted to the %s, and verifies', async (whom) => {
        const { page, errors } = await opened(whom, undefined, await host((origin) => [origin], 'TLS'))
        expect(await page.textContent('#service')).toBe('SIMULATED verified')
        const { badge, text } = await asked(page)
        expect([badge, text]).toEqual(['SIMULATED verified', expect.stringContaining('Tokyo')])
        expect(reached).toContain('POST /v1/chat/completions')
        expect([...versions]).toEqual(['2.0'])
        expect(errors).toEqual([])
        await page.close()
      })

      test.each<[string, (page: string) => readonly string[]]>([
        ['no origin is allowed', () => []],
        ['another one is', (page) => [page.replace(/:\d+$/, ':1')]],
        ['the same host is by another scheme', (page) => [page.replace('http:', 'https:')]],
      ])('S22: it reads nothing and sends no prompt where %s', async (_, origins) => {
        const { page } = await opened('controller', undefined, await host(origins))
        expect(await page.textContent('#service')).toBe('not proven')
        expect(await page.textContent('#why')).toMatch(/^service_unavailable: /)
        expect(await page.isHidden('#ask')).toBe(true)
        expect(reached.filter((one) => one.startsWith('POST'))).toEqual([])
        await page.close()
      })
    })

    test('each badge has its meaning beside it', async () => {
      const { page } = await opened('controller')
      expect(await page.locator('#legend dt .badge').allTextContents()).toEqual([
        'verified',
        'verified beginning',
        'SIMULATED',
        'REJECTED',
        'not proven',
      ])
      expect((await page.locator('#legend dd').allTextContents()).every((text) => text.length > 40)).toBe(true)
      await page.close()
    })

    test.each<[string, readonly string[], string]>([
      ['S15: the real root alone', ['policy.json'], 'chain_untrusted'],
      ['a policy for other code', ['other.json', 'root.pem'], 'policy_identity'],
      ['S14: a policy that is none', ['root.pem', 'root.pem'], 'policy_invalid'],
    ])('%s: the service is refused and nothing is sent', async (_, files, code) => {
      const { page } = await opened('controller', files)
      expect(await page.textContent('#service')).toBe('REJECTED')
      expect(await page.textContent('#why')).toMatch(new RegExp(`^${code}: [^]*\\nNext: `))
      expect(await page.isHidden('#ask')).toBe(true)
      expect(posts()).toEqual([])
      await page.close()
    })

    const attestation = '/v1/aci/attestation'
    test.each<[string, Meddling, string]>([
      [
        'another key in the keyset',
        { onAnswer: edit(attestation, (text) => text.replace(/("e2ee_public_keys":\[\{[^}]*"public_key":")[0-9a-f]{2}/, '$1ff')) },
        'report_keyset_mismatch',
      ],
      ['a report for another nonce', { onAnswer: edit(attestation, (text) => text.replace(/("nonce":")[0-9a-f]{2}/, '$1ff')) }, 'never'],
      ['an edited descriptor', { onAnswer: edit(attestation, (text) => text.replace('"role":"controller"', '"role":"validator"')) }, 'report_'],
      ['a page in the place of the report', { onAnswer: edit(attestation, () => '<html></html>') }, 'report_malformed'],
    ])('a hostile server with %s', async (_, hostile, code) => {
      meddling = hostile
      const { page } = await opened('controller')
      if (code === 'never') {
        // The nonce beside the quote is nobody's proof: the quote binds the one that was drawn, and only that counts.
        expect(await page.textContent('#service')).toBe('SIMULATED verified')
      } else {
        expect([await page.textContent('#service'), await page.textContent('#why')]).toEqual(['REJECTED', expect.stringContaining(code)])
        expect(posts()).toEqual([])
      }
      await page.close()
    })

    test('a report that was good for another visitor is no report for this one', async () => {
      let recorded: string | null = null
      meddling = {
        onAnswer: edit(attestation, (text) => {
          recorded ??= text
          return recorded
        }),
      }
      const first = await opened('controller')
      expect(await first.page.textContent('#service')).toBe('SIMULATED verified')
      const second = await opened('controller')
      expect(await second.page.textContent('#why')).toContain('report_nonce_mismatch')
      await first.page.close()
      await second.page.close()
    })

    const chat = '/v1/chat/completions'
    test.each<[string, Meddling]>([
      [
        'changes a byte of the answer',
        { onAnswer: on(chat, (_, body) => Buffer.from(body.map((byte, i) => (i === body.length - 1 ? byte ^ 1 : byte)))) },
      ],
      ['cuts the answer', { onAnswer: on(chat, (_, body) => body.subarray(0, Math.floor(body.length / 2))) }],
      [
        'takes away the nonce of the encryption',
        {
          onAnswer: on(chat, (headers, body) => {
            delete headers['ehbp-response-nonce']
            return body
          }),
        },
      ],
      [
        'answers in clear itself',
        {
          onAnswer: on(chat, (headers) => {
            delete headers['ehbp-response-nonce']
            headers['content-type'] = 'text/event-stream'
            return Buffer.from('data: {"choices":[{"delta":{"content":"Kyoto, trust me"}}]}\n\ndata: [DONE]\n\n')
          }),
        },
      ],
      ['keeps the receipt back', { onAnswer: on('/v1/aci/receipts', () => Buffer.from('{}')) }],
    ])('a hostile server that %s: no answer is shown as one', async (_, hostile) => {
      const { page, errors } = await opened('controller')
      meddling = hostile
      const { classes, text } = await asked(page)
      expect(classes).toMatch(/badge (?:rejected|unproven|simulated)/)
      // A beginning that was proven may be shown, and says that it is one.
      if (classes === 'badge simulated') expect(text).toContain('Verified as far as it goes')
      else expect(text).not.toMatch(/Kyoto|Tokyo/)
      expect(errors).toEqual([])
      await page.close()
    })
  },
)

type Headers = { [name: string]: string | string[] | undefined }

/** Changes one document as text. */
function edit(wanted: string, change: (text: string) => string): NonNullable<Meddling['onAnswer']> {
  return (path, _, body) => (path === wanted ? Buffer.from(change(body.toString('utf8'))) : body)
}

function on(wanted: string, change: (headers: Headers, body: Buffer) => Buffer): NonNullable<Meddling['onAnswer']> {
  return (path, headers, body) => (path.startsWith(wanted) ? change(headers, body) : body)
}
