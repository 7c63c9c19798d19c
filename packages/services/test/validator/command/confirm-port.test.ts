import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { signAdmissionManifest } from 'veritee/admission'
import { certificatePem } from 'veritee/attestation/issue'
import { toHex } from 'veritee/bytes'
import { signAuditRecord, verifyConfirmationRequest } from 'veritee/scoring'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { resolveModel } from '../../../src/models/locate.ts'
import { replayWith } from '../../../src/replay/index.ts'
import { type Audited, auditProbe } from '../../../src/validator/audit/audit.ts'
import { openPath } from '../../../src/validator/audit/path.ts'
import { handOver } from '../../../src/validator/confirm/hand-over.ts'
import { planProbes } from '../../../src/validator/probes/probe.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { serveBeacon } from '../beacon-server.ts'
import { type Network, type NetworkValidator, startNetwork } from '../confirm/network.ts'
import { fixedKey, fixedPem } from '../keys.ts'

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 })

const program = fileURLToPath(new URL('../../../src/bin/veriteed.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'veritee-confirm-port-'))
const closing: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
let network: Network
beforeAll(async () => {
  network = await startNetwork(3)
  closing.push(() => network.close())
})
afterAll(async () => {
  for (const stop of closing.reverse()) await stop()
})

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text, { mode: 0o600 })
  return join(folder, name)
}

/** What a validator's records rest on who has asked the worker that runs another model. */
async function mismatchOf({ key, name, store }: NetworkValidator): Promise<void> {
  const { machine, evidencePolicy, workers, model, replay, policy, roster, now } = network
  const cheat = workers.find((one) => one.name === 'other model')
  if (cheat === undefined) throw new TypeError('expected a worker that runs another model')
  const path = await openPath(cheat.running.server.url, {
    policy: evidencePolicy,
    trust: machine.trust,
    now,
    operators: [],
    encryptTo: 'none',
    apiKey: null,
  })
  const encrypted = { controller: 0, worker: 0 }
  const probes = planProbes({ seed: new Uint8Array(32).fill(1), count: 12, seconds: 1, maxTokens: 48, maxPrompt: 300, clients: 1, encrypted })
  const context = {
    ...{ network: policy.network, salt: roster.salt, validator: name, epoch: 0, trust: machine.trust, now, findInLog: null, named: null },
    clockMs: () => performance.now(),
    replay: async (record: Parameters<typeof replayWith>[0]) => ({ report: await replayWith(record, replay), calibration: null }),
    timeoutMs: 240_000,
  }
  let found: Audited | null = null
  // Of greedy answers some come out the same.
  for (const probe of probes) {
    const audited = await auditProbe(context, path, model.served.name, {
      ...probe,
      options: { temperature: 0, max_tokens: 48 },
      order: null,
      follows: null,
    })
    if (audited.record.reason === 'replay_mismatch') found ??= { ...audited, record: { ...audited.record, index: 0 } }
  }
  path.connection.close()
  if (found === null) throw new TypeError('expected a mismatch')
  const { record, evidence } = found
  await store.plan([{ epoch: 0, index: 0, dueMs: 0, task: '{}' }])
  await store.finish(0, 0, { record: await signAuditRecord(record, key), evidence: JSON.stringify(evidence) }, [])
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => void child.once('exit', (code) => resolve(code)))
}

test('S18: a validator that is run with --confirm-port takes what another one hands over, keeps it, and says where', async () => {
  const { machine, evidencePolicy, workers, roster, text, policy, beacon, validators } = network
  const [asker, , own] = validators as readonly [NetworkValidator, NetworkValidator, NetworkValidator]
  await mismatchOf(asker)
  // Of the keys of the network one signs everything here.
  const signer = validators[0]?.key
  const byte = [200, 201, 202].find((one) => toHex(fixedKey(one).publicKey) === own.name)
  if (signer === undefined || byte === undefined) throw new TypeError('expected keys')
  const worker = { ...evidencePolicy.roles.worker, operator: roster.operators }
  const issued = policy.epoch.genesis - 60
  const manifest = { version: 'veritee.admission-manifest.v1', network: 'test', manifest_version: 1, issued, expires: issued + 86_400 }
  const platforms = { salt: roster.salt, allow: 'any', deny: [], shared: roster.shared }
  const signed = await signAdmissionManifest(JSON.stringify({ ...manifest, roles: { worker }, platforms, signatures: [] }), signer)
  const rounds = await serveBeacon(beacon)
  closing.push(() => rounds.server.close())
  mkdirSync(join(folder, 'state'), { mode: 0o700 })
  const state = await openSqliteEpochStore(join(folder, 'state', 'validator.sqlite'))
  closing.push(() => state.close())
  // Drawn before the epoch began, by a process before this one.
  await state.keep(0, 'seed', '77'.repeat(32))
  const options = {
    state: join(folder, 'state'),
    key: write('validator.pem', fixedPem(byte)),
    network: 'test',
    signer: toHex(signer.publicKey),
    threshold: '1',
    manifest: write('manifest.json', signed),
    'scoring-policy': write('scoring.json', text),
    worker: workers[0]?.running.server.url ?? '',
    model: `veritee-demo=${(await resolveModel('demo')).path}`,
    root: write('root.pem', certificatePem(machine.platform.root)),
    beacon: rounds.url,
    probes: '2',
    out: join(folder, 'out'),
    'confirm-port': '0',
  }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
  const child = spawn(process.execPath, ['--conditions=@veritee/source', program, 'validator', 'run', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  closing.push(() => child.kill('SIGKILL'))
  const exit = ended(child)
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    said += part
  })
  const place = /answers of other validators are taken at (http:\/\/127\.0\.0\.1:\d+)\/confirmations\n/
  await expect.poll(() => place.exec(said)?.[1] ?? (child.exitCode === null ? null : said), { timeout: 200_000 }).toMatch(/^http:/)
  const [, url = ''] = place.exec(said) ?? []

  const lines: string[] = []
  const until = Date.now() / 1000 + 200
  const report = (line: string): void => void lines.push(line)
  await handOver({
    store: asker.store,
    epoch: 0,
    key: asker.key,
    urls: [url],
    until,
    now: () => new Date(),
    signal: new AbortController().signal,
    report,
  })
  expect(lines).toEqual(['epoch 0: 1 mismatches at level 1 go to 1 validators for confirmation'])
  const [kept, ...others] = await state.facts(0, 'request ')
  expect(others).toEqual([])
  expect((await verifyConfirmationRequest(kept?.text ?? '')).validator).toBe(asker.name)
  // It goes on, and stops when it is told to.
  expect(child.exitCode).toBeNull()
  child.kill('SIGTERM')
  expect([await exit, said]).toEqual([0, expect.stringContaining('stopped; what was begun goes on with the next start\n')])
})
