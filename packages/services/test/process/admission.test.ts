import { afterEach, describe, expect, it } from 'vitest'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Admission, keepAdmitted } from '../../src/process/admission.ts'

/** A control port that plays a part: what it answers to the next registrations, and whether it knows the worker. */
interface Control {
  readonly server: Listening
  readonly asked: string[]
  known: number
  registration: { status: number; body: object }
}

const session = { session_id: 'ab'.repeat(32) }
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function control(): Promise<Control> {
  const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
  const part: Omit<Control, 'server'> = { asked: [], known: 200, registration: { status: 201, body: session } }
  const server = await listen(bind, (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.once('end', () => {
      const registers = request.method === 'POST'
      part.asked.push(registers ? (JSON.parse(body) as { keyset_digest: string }).keyset_digest : `known? ${request.url?.split('/').at(-1)}`)
      const { status, body: answer } = registers ? part.registration : { status: part.known, body: {} }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
  })
  closing.push(() => server.close())
  return Object.assign(part, { server })
}

function start(controlUrl: string, digest: () => string, lines: string[] = [], times: { checkMs?: number; againMs?: number } = {}): Admission {
  const worker = {
    get identity() {
      return { keysetDigest: digest() } as never
    },
    tickets: { give: () => '00'.repeat(16) } as never,
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

  it('asks nobody once it is stopped', async () => {
    const fake = await control()
    const admission = start(fake.server.url, () => 'sha256:one')
    await until(() => fake.asked.length >= 2)
    admission.stop()
    await new Promise((resolve) => setTimeout(resolve, 30))
    const count = fake.asked.length
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(fake.asked.length).toBe(count)
  })
})
