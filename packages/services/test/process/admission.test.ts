import { afterEach, describe, expect, it } from 'vitest'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Admission, keepAdmitted } from '../../src/process/admission.ts'

/** A control port that plays a part: what it answers to the next registrations, and whether it knows the worker. */
interface Control {
  readonly server: Listening
  readonly asked: string[]
  known: number
  keysetDigest: string
  registration: { status: number; body: object }
}

const session = { session_id: 'ab'.repeat(32) }
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function control(): Promise<Control> {
  const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
  const part: Omit<Control, 'server'> = {
    asked: [],
    known: 200,
    keysetDigest: `sha256:${'22'.repeat(32)}`,
    registration: { status: 201, body: session },
  }
  const server = await listen(bind, (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.once('end', () => {
      const say = (status: number, answer: object): void => {
        response.setHeader('x-aci-keyset-digest', part.keysetDigest)
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
      }
      if (request.url === '/v1/workers/nonce') return say(200, { nonce: '11'.repeat(32), keyset_digest: part.keysetDigest })
      const registers = request.method === 'POST'
      const asked = registers ? (JSON.parse(body) as { keyset: string; purpose: string; controller: string }) : null
      part.asked.push(asked === null ? `known? ${request.url?.split('/').at(-1)}` : `${asked.purpose === 'leave' ? 'leave ' : ''}${asked.keyset}`)
      if (asked?.purpose === 'leave') return say(200, {})
      return asked === null ? say(part.known, {}) : say(part.registration.status, part.registration.body)
    })
  })
  closing.push(() => server.close())
  return Object.assign(part, { server })
}

function start(controlUrl: string, digest: () => string, lines: string[] = [], times: { checkMs?: number; againMs?: number } = {}): Admission {
  const worker = {
    get identity() {
      return {
        keysetDigest: digest(),
        keyset: digest() as never,
        receiptKeyId: 'receipt-1',
        operatorSignature: null,
        signRegistration: () => new Uint8Array(64),
      }
    },
    controllers: null,
    tickets: { give: () => '00'.repeat(16) },
  }
  const options = { controlUrl, workerUrl: 'https://127.0.0.1:1', worker, report: (line: string) => lines.push(line) }
  const admission = keepAdmitted({ ...options, checkMs: 5, againMs: 1_000_000, ...times, retryMs: { first: 5, most: 20 } })
  closing.push(() => admission.stop())
  return admission
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('a worker stays admitted', () => {
  it('registers once, then only asks whether it is still known', async () => {
    const { server, asked } = await control()
    const admission = start(server.url, () => 'sha256:one')
    expect(admission.reason).toContain('not registered')
    await until(() => asked.length >= 4)
    expect(asked.slice(0, 4)).toEqual(['sha256:one', 'known? sha256:one', 'known? sha256:one', 'known? sha256:one'])
    expect(admission.reason).toBeNull()
  })

  it('registers again where the controller has forgotten it, as one that restarted has', async () => {
    const fake = await control()
    start(fake.server.url, () => 'sha256:one')
    await until(() => fake.asked.length >= 2)
    fake.known = 404
    await until(() => fake.asked.filter((line) => line === 'sha256:one').length >= 2)
    fake.known = 200
  })

  it('registers again before the session ends, and at once with new keys', async () => {
    const fake = await control()
    let digest = 'sha256:one'
    const admission = start(fake.server.url, () => digest, [], { checkMs: 5, againMs: 20 })
    await until(() => fake.asked.filter((line) => line === 'sha256:one').length >= 3)
    digest = 'sha256:two'
    admission.again()
    await until(() => fake.asked.includes('sha256:two'))
  })

  it('tries again for ever, says why once, and says when it worked', async () => {
    const fake = await control()
    fake.registration = { status: 403, body: { error: { code: 'policy_identity' } } }
    const lines: string[] = []
    const admission = start(fake.server.url, () => 'sha256:one', lines)
    await until(() => fake.asked.length >= 3)
    expect(lines).toEqual([expect.stringMatching(/^not admitted by .*service_refused.*policy_identity.*trying again$/)])
    expect(admission.reason).toContain('policy_identity')
    fake.registration = { status: 201, body: session }
    await until(() => admission.reason === null)
    expect(lines[1]).toMatch(/^admitted by /)
  })

  it('a controller that answers nonsense is a failure like others', async () => {
    const fake = await control()
    fake.registration = { status: 201, body: { session_id: 'x' } }
    const admission = start(fake.server.url, () => 'sha256:one')
    await until(() => fake.asked.length >= 2)
    expect(admission.reason).toContain('malformed_document')
  })

  it('registers again where the controller has new keys: what it had said was for those before', async () => {
    const fake = await control()
    start(fake.server.url, () => 'sha256:one')
    await until(() => fake.asked.length >= 2)
    fake.keysetDigest = `sha256:${'33'.repeat(32)}`
    await until(() => fake.asked.filter((line) => line === 'sha256:one').length >= 2)
  })

  it('says that it goes, where it was admitted', async () => {
    const fake = await control()
    const admission = start(fake.server.url, () => 'sha256:one')
    await until(() => admission.reason === null)
    await admission.leave()
    expect(fake.asked.at(-1)).toBe('leave sha256:one')
    const refused = await control()
    refused.registration = { status: 403, body: {} }
    const other = start(refused.server.url, () => 'sha256:one')
    await until(() => refused.asked.length >= 1)
    await other.leave()
    expect(refused.asked).not.toContain('leave sha256:one')
  })

  it('asks nobody once it is stopped', async () => {
    const fake = await control()
    const admission = start(fake.server.url, () => 'sha256:one')
    await until(() => fake.asked.length >= 2)
    admission.stop()
    const count = fake.asked.length
    // Many times the time between two questions; the one under way may still arrive.
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(fake.asked.length).toBeLessThanOrEqual(count + 1)
  })
})
