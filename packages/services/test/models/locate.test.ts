import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseHubSpec, type ResolveOptions, resolveModel } from '../../src/models/locate.ts'
import { type Hub, type HubBehaviour, serveRanges, sha256, startHub, truncate } from './hub-server.ts'

const content = new Uint8Array(300_000).map((_, i) => (i * 31 + (i >> 8)) & 0xff)
const hash = sha256(content)
const spec = 'hf:owner/repo/dir/model-Q8_0.gguf'

let cacheDir: string
let hub: Hub | null = null

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'veritee-models-'))
})
afterEach(async () => {
  await hub?.close()
  hub = null
  await rm(cacheDir, { recursive: true })
})

async function resolve(behaviour: Partial<HubBehaviour> = {}, options: ResolveOptions & { readonly spec?: string } = {}): Promise<string> {
  await hub?.close()
  hub = await startHub({ content, ...behaviour })
  const { spec: wanted = spec, ...rest } = options
  const model = await resolveModel(wanted, { cacheDir, endpoint: hub.endpoint, timeoutMs: 20_000, attempts: 2, token: '', ...rest })
  expect(model).toMatchObject({ source: 'hub', sha256: hash, name: 'model-Q8_0' })
  expect(sha256(await readFile(model.path))).toBe(hash)
  return model.path
}

/** Files of the cache, by path inside it. */
async function cached(): Promise<string[]> {
  const entries = await readdir(cacheDir, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(cacheDir.length + 1))
    .sort()
}

const target = (): string => join(cacheDir, 'owner', 'repo', 'main', 'dir', 'model-Q8_0.gguf')

async function leavePartial(bytes: Uint8Array, ofHash = hash): Promise<void> {
  await mkdir(dirname(target()), { recursive: true })
  await writeFile(`${target()}.${ofHash}.partial`, bytes)
}

describe('without a network', () => {
  test('demo is the file of this repository, with its hash', async () => {
    const model = await resolveModel('demo')
    expect(model).toMatchObject({ source: 'demo', name: 'veritee-demo' })
    expect(sha256(await readFile(model.path))).toBe(model.sha256)
  })

  test('a path is that file, with no hash to expect', async () => {
    const path = join(cacheDir, 'x.gguf')
    await writeFile(path, 'GGUF')
    expect(await resolveModel(path)).toEqual({ path, name: 'x', source: 'file', sha256: null })
  })

  test('a missing path and a directory are model_unavailable', async () => {
    await expect(resolveModel(join(cacheDir, 'none.gguf'))).rejects.toMatchObject({ code: 'model_unavailable' })
    await expect(resolveModel(cacheDir)).rejects.toMatchObject({ code: 'model_unavailable' })
  })
})

describe('names', () => {
  test('repository, revision and nested path', () => {
    expect(parseHubSpec('hf:a/b/c.gguf')).toEqual({ owner: 'a', repo: 'b', revision: 'main', path: 'c.gguf' })
    expect(parseHubSpec('hf:a/b.c@v1.0/d/e/f.gguf')).toEqual({ owner: 'a', repo: 'b.c', revision: 'v1.0', path: 'd/e/f.gguf' })
  })

  test.each(['hf:', 'hf:a/b', 'hf:a/b/', 'hf:a/b/c.bin', 'hf:a/b/../c.gguf', 'hf:a/../c.gguf', 'hf:../b/c.gguf', 'hf:a/b//c.gguf', 'hf:a/b@/c.gguf'])(
    '%s is usage',
    (text) => {
      expect(() => parseHubSpec(text)).toThrow(expect.objectContaining({ code: 'usage' }))
    },
  )

  test.each(['hf:a/b/c%2e.gguf', 'hf:a/b/c\\d.gguf', 'hf:a/b/c d.gguf', `hf:a/b/${'x'.repeat(512)}.gguf`])('%s is usage', (text) => {
    expect(() => parseHubSpec(text)).toThrow(expect.objectContaining({ code: 'usage' }))
  })
})

describe('download', () => {
  test('follows the redirect, checks the hash, keeps file and note, reports progress', async () => {
    const seen: number[] = []
    const path = await resolve({}, { onProgress: ({ receivedBytes, totalBytes }) => totalBytes === content.length && seen.push(receivedBytes) })
    expect(path).toBe(target())
    expect(hub?.requests).toEqual([
      'HEAD /owner/repo/resolve/main/dir/model-Q8_0.gguf',
      'GET /owner/repo/resolve/main/dir/model-Q8_0.gguf',
      'GET /cdn',
    ])
    expect(await cached()).toEqual(['owner/repo/main/dir/model-Q8_0.gguf', 'owner/repo/main/dir/model-Q8_0.gguf.sha256'])
    expect(await readFile(`${path}.sha256`, 'utf8')).toBe(`${hash}  model-Q8_0.gguf\n`)
    expect(seen.at(0)).toBe(0)
    expect(seen.at(-1)).toBe(content.length)
  })

  test('a second time asks nobody', async () => {
    await resolve()
    await resolve()
    expect(hub?.requests).toEqual([])
  })

  test('a file without its note is not believed', async () => {
    const path = await resolve()
    await rm(`${path}.sha256`)
    await writeFile(path, 'something else')
    await resolve()
    expect(hub?.requests).toHaveLength(3)
  })

  test('the revision is part of URL and cache', async () => {
    const path = await resolve({}, { spec: 'hf:owner/repo@abc/dir/model-Q8_0.gguf' })
    expect(path).toBe(join(cacheDir, 'owner', 'repo', 'abc', 'dir', 'model-Q8_0.gguf'))
    expect(hub?.requests[0]).toBe('HEAD /owner/repo/resolve/abc/dir/model-Q8_0.gguf')
  })

  test('a hub that serves the file itself, with the hash as entity tag, and a renamed repository', async () => {
    const serve = serveRanges(content)
    await resolve({
      head: (request, response) => {
        if (request.url?.startsWith('/owner/')) response.writeHead(307, { location: request.url.replace('/owner/', '/new-owner/') }).end()
        else response.writeHead(200, { etag: `"${hash}"`, 'content-length': content.length }).end()
      },
      get: serve,
    })
    expect(hub?.requests).toHaveLength(3)
  })

  test('the token goes to the hub, and not where the hub redirects to', async () => {
    const elsewhere = await startHub({ content })
    try {
      await resolve(
        {
          get: (_, response) => {
            response.writeHead(302, { location: `${elsewhere.endpoint}/cdn` }).end()
          },
        },
        { token: 'secret' },
      )
      expect(hub?.headers.map(({ authorization }) => authorization)).toEqual(['Bearer secret', 'Bearer secret'])
      expect(elsewhere.headers.map(({ authorization }) => authorization)).toEqual([undefined])
    } finally {
      await elsewhere.close()
    }
  })
})

describe('resume', () => {
  test('an interrupted body is continued where it ended', async () => {
    await resolve({
      body: (request, response, attempt) => (attempt < 3 ? truncate(request, response, content, 70_000) : serveRanges(content)(request, response)),
    })
    const ranges = hub?.requests.filter((line) => line.includes('/cdn')).map((line) => /bytes=(\d+)-/.exec(line)?.[1])
    expect(ranges).toEqual([undefined, '70000', '140000', '210000'])
  })

  test('a partial file of an earlier run is continued', async () => {
    await leavePartial(content.subarray(0, 123_456))
    await resolve()
    expect(hub?.requests.at(-1)).toBe('GET /cdn bytes=123456-')
    expect(await cached()).toHaveLength(2)
  })

  test('a partial file that is already whole needs no body', async () => {
    await leavePartial(content)
    await resolve()
    expect(hub?.requests).toEqual(['HEAD /owner/repo/resolve/main/dir/model-Q8_0.gguf'])
  })

  test('a partial file of another version is removed, not continued', async () => {
    await leavePartial(new Uint8Array(1000), 'f'.repeat(64))
    await resolve()
    expect(hub?.requests.at(-1)).toBe('GET /cdn')
    expect(await cached()).toHaveLength(2)
  })

  test('a server that ignores the range is read from the beginning', async () => {
    await leavePartial(content.subarray(0, 1000))
    await resolve({
      body: (_, response) => {
        response.writeHead(200, { 'content-length': content.length }).end(content)
      },
    })
  })

  test.each([
    ['resumes at another place', 206, { 'content-range': `bytes 5-${content.length - 1}/${content.length}` }],
    ['refuses the range', 416, {}],
  ])('a server that %s is asked for everything', async (_, status, headers) => {
    await leavePartial(content.subarray(0, 1000))
    await resolve({
      body: (request, response) => {
        if (request.headers.range === undefined) serveRanges(content)(request, response)
        else response.writeHead(status, headers).end('x')
      },
    })
    expect(hub?.requests.at(-1)).toBe('GET /cdn')
  })
})

describe('refused', () => {
  const code = (value: string): unknown => expect.objectContaining({ code: value })

  test('a body with another hash: nothing is left that a later run could take for the model', async () => {
    const other = Uint8Array.from(content).fill(0, 100, 101)
    await expect(resolve({ body: serveRanges(other) })).rejects.toEqual(code('model_hash_mismatch'))
    expect(await cached()).toEqual([])
  })

  test('a spoiled partial file: the hash is over all bytes, not only the new ones', async () => {
    await leavePartial(new Uint8Array(1000))
    await expect(resolve()).rejects.toEqual(code('model_hash_mismatch'))
    expect(await cached()).toEqual([])
  })

  test('more bytes than announced', async () => {
    const body: HubBehaviour['body'] = (_, response) => {
      response.writeHead(200).end(Buffer.concat([content, content]))
    }
    await expect(resolve({ body })).rejects.toEqual(code('model_hash_mismatch'))
  })

  test.each([
    ['a git object id', { etag: '"0123456789abcdef0123456789abcdef01234567"' }],
    ['a weak word', { etag: 'W/"abc"' }],
    ['nothing', {}],
  ])('a hub whose entity tag is %s, not a sha256', async (_, headers) => {
    const head: HubBehaviour['head'] = (_request, response) => {
      response.writeHead(200, headers).end()
    }
    await expect(resolve({ head })).rejects.toEqual(code('model_unverifiable'))
    expect(hub?.requests).toHaveLength(1)
  })

  test('a hash stated by another host than the hub', async () => {
    const elsewhere = await startHub({ content })
    try {
      const head: HubBehaviour['head'] = (_, response) => {
        response.writeHead(302, { location: `${elsewhere.endpoint}/owner/repo` }).end()
      }
      await expect(resolve({ head })).rejects.toEqual(code('model_unverifiable'))
      expect(elsewhere.requests).toEqual([])
    } finally {
      await elsewhere.close()
    }
  })

  test.each([401, 403, 404, 400, 500, 429])('status %i for the description', async (status) => {
    const head: HubBehaviour['head'] = (_, response) => {
      response.writeHead(status).end()
    }
    await expect(resolve({ head })).rejects.toEqual(code('model_unavailable'))
    expect(hub?.requests).toHaveLength(status === 500 || status === 429 ? 2 : 1)
  })

  test.each([403, 404, 503])('status %i for the body', async (status) => {
    const get: HubBehaviour['get'] = (_, response) => {
      response.writeHead(status).end('no')
    }
    await expect(resolve({ get })).rejects.toEqual(code('model_unavailable'))
  })

  test('a body that breaks off without a new byte, again and again; what came is kept for the next run', async () => {
    const body: HubBehaviour['body'] = (request, response, attempt) => truncate(request, response, content, attempt === 0 ? 50_000 : 0)
    await expect(resolve({ body })).rejects.toEqual(code('model_unavailable'))
    expect((await stat(`${target()}.${hash}.partial`)).size).toBe(50_000)
    await resolve()
    expect(hub?.requests.at(-1)).toBe('GET /cdn bytes=50000-')
  })

  test('a server that falls silent', async () => {
    const body: HubBehaviour['body'] = (_, response) => {
      response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, 10))
    }
    await expect(resolve({ body }, { attempts: 1, timeoutMs: 100 })).rejects.toEqual(code('model_unavailable'))
    await expect(resolve({ head: () => undefined }, { attempts: 1, timeoutMs: 100 })).rejects.toEqual(code('model_unavailable'))
  })

  test('nobody there', async () => {
    await expect(resolveModel(spec, { cacheDir, endpoint: 'http://127.0.0.1:1', attempts: 1 })).rejects.toEqual(code('model_unavailable'))
  })

  test('endless redirects, a redirect to nowhere, and one away from https', async () => {
    for (const location of ['/again', 'http://[', 'http://example.com/x', 'file:///etc/passwd']) {
      const get: HubBehaviour['get'] = (_, response) => {
        response.writeHead(302, { location }).end()
      }
      await expect(resolve({ get }), location).rejects.toEqual(code('model_unavailable'))
      expect(hub?.requests.length).toBeLessThanOrEqual(8)
    }
  })

  test('more than the disk holds, before the first byte', async () => {
    const head: HubBehaviour['head'] = (_, response) => {
      response.writeHead(302, { location: '/cdn', 'x-linked-etag': hash, 'x-linked-size': String(2 ** 52) }).end()
    }
    await expect(resolve({ head })).rejects.toEqual(code('model_unavailable'))
    expect(hub?.requests).toHaveLength(1)
  })

  test('a cache that cannot be written', async () => {
    const file = join(cacheDir, 'file')
    await writeFile(file, '')
    await expect(resolve({}, { cacheDir: file })).rejects.toEqual(code('model_unavailable'))
  })

  test.each(['http://example.com', 'ftp://127.0.0.1', 'not a url'])('the endpoint %s is usage', async (endpoint) => {
    await expect(resolveModel(spec, { cacheDir, endpoint })).rejects.toEqual(code('usage'))
  })

  test('an abort rejects with its reason, in the middle of a body', async () => {
    const controller = new AbortController()
    const body: HubBehaviour['body'] = (_, response) => {
      response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, 10))
      setTimeout(() => controller.abort(new Error('enough')), 20)
    }
    await expect(resolve({ body }, { signal: controller.signal, timeoutMs: 10_000 })).rejects.toThrow('enough')
  })
})
