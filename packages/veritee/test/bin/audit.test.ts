import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { formatDrawn } from '../../src/bin/evidence/drawn.ts'
import { createBundle, type ReceiptEvent } from '../../src/receipt/index.ts'
import { type Kept, keepExchange, partsOf, policyFor } from '../bundle/service.ts'
import { nonceOf } from '../receipt/enclaves.ts'
import { expectRefusal, folder, json, type Ran, veritee } from './cli.ts'

const files = folder()
let trust: string[]
let kept: Kept
beforeAll(async () => {
  kept = await keepExchange()
  const policy = files.write('policy.json', JSON.stringify(policyFor()))
  trust = ['--policy', policy, '--root', files.write('root.pem', certificatePem(kept.trust.roots[0]))]
})
const audit = (path: string, ...more: string[]): Promise<Ran> => veritee(['audit', path, ...trust, ...more])

let folders = 0
/** A folder of its own with these files. */
function holding(contents: { readonly [name: string]: string }): string {
  const path = files.path(`folder-${++folders}`)
  mkdirSync(path)
  for (const [name, text] of Object.entries(contents)) writeFileSync(join(path, name), text)
  return path
}
const bundle = (of: Kept = kept): string => createBundle(partsOf(of))
const edited = (): string => bundle().replace('"response_b64":"', '"response_b64":"AAAA')

describe('audit', () => {
  it('one bundle: every check, and the conclusion last', async () => {
    const ran = await audit(files.write('one.bundle', bundle()))
    expect([ran.code, ran.stdout.endsWith('ACCEPTED, SIMULATED: this proves nothing about hardware\n')]).toEqual([0, true])
    expect(ran.stdout).toContain('✓ worker.receipt')
  })

  it('a folder: a line for each, others left alone, and 1 where one is rejected', async () => {
    const path = holding({ 'b.bundle': bundle(), 'a.bundle.json': edited(), 'notes.txt': 'x' })
    const ran = await audit(path)
    expect(ran.code).toBe(1)
    const lines = ran.stdout.trimEnd().split('\n')
    expect(lines[0]).toMatch(/^✗ .*a\.bundle\.json rcpt-1 receipt_response_mismatch: /)
    expect(lines[1]).toMatch(/^✓ .*b\.bundle rcpt-1 SIMULATED, demo-model$/)
    expect(lines.at(-1)).toMatch(/^REJECTED: 1 of 2 bundles accepted/)
    expect(json(await audit(path, '--json'))).toMatchObject({
      verdict: 'rejected',
      accepted: 1,
      rejected: 1,
      bundles: [{ error: { code: 'receipt_response_mismatch' } }, { verdict: 'accepted', model: 'demo-model' }],
      conflicts: [],
    })
  })

  it('--at served judges at the time of the receipt, without it at now', async () => {
    const path = files.write('old.bundle', bundle())
    const ran = await audit(path, '--at', 'served', '--json')
    expect([ran.code, json(ran)]).toMatchObject([0, { bundles: [{ at: expect.stringMatching(/Z$/) as string }] }])
    expect(json(await audit(path, '--at', '2040-01-01T00:00:00Z', '--json'))).toMatchObject({ bundles: [{ error: { code: 'certificate_expired' } }] })
  })

  it('nonces that lie beside a bundle are compared', async () => {
    const path = holding({ 'x.bundle': bundle(), 'x.drawn.json': formatDrawn(kept) })
    const ran = await audit(join(path, 'x.bundle'))
    expect([ran.code, ran.stdout]).toEqual([0, expect.stringMatching(/✓ report\.nonce/)])
    const other = holding({ 'x.bundle': bundle(), 'x.drawn.json': formatDrawn({ nonce: nonceOf('other'), clientNonce: kept.clientNonce }) })
    expect(json(await audit(other, '--json'))).toMatchObject({ bundles: [{ error: { code: 'report_nonce_mismatch' } }] })
    expect((await audit(holding({ 'x.bundle': bundle(), 'x.drawn.json': '{}' }))).code).toBe(2)
  })

  it('S5: two receipts with one number, or after one predecessor, are told of although each verifies', async () => {
    const chain = (sequence: number, previous: string | null): ReceiptEvent => ({ type: 'veritee.chain', sequence, previous })
    const shared = await keepExchange()
    // The same enclaves sign another receipt: what only they can do.
    const second = (event: ReceiptEvent): string => {
      const { event_log: events } = JSON.parse(shared.receipt) as { event_log: ReceiptEvent[] }
      const receipt = shared.controller.receipt([...events, event], { receipt_id: `rcpt-${event.type === 'veritee.chain' ? event.sequence : 0}` })
      return createBundle({ ...partsOf(shared), exchange: { ...partsOf(shared).exchange, receipt } })
    }
    const previous = `sha256:${'ab'.repeat(32)}`
    const honest = holding({
      'a.bundle': second(chain(1, previous)),
      'b.bundle': second(chain(2, `sha256:${'cd'.repeat(32)}`)),
      'c.bundle': second(chain(1, previous)),
    })
    expect((await audit(honest)).code).toBe(0)
    const numbered = await audit(holding({ 'a.bundle': second(chain(1, null)), 'b.bundle': second(chain(1, previous)) }))
    expect([numbered.code, numbered.stdout]).toEqual([1, expect.stringContaining('two receipts with one number of keyset')])
    const forked = await audit(holding({ 'a.bundle': second(chain(1, previous)), 'b.bundle': second(chain(2, previous)) }), '--json')
    expect(json(forked)).toMatchObject({
      verdict: 'rejected',
      rejected: 0,
      conflicts: [{ kind: 'after one predecessor', receipts: ['rcpt-1', 'rcpt-2'] }],
    })
  })

  it('S14: without a policy it is 2', async () => {
    expectRefusal(await veritee(['audit', files.write('p.bundle', bundle())]), 2, 'usage')
  })

  it('what is no bundle is rejected; a folder without any, or nothing at all, is 3', async () => {
    expect((await audit(files.write('broken.bundle', '{'))).code).toBe(1)
    expectRefusal(await audit(holding({ 'x.txt': '' })), 3, 'file_unavailable')
    expectRefusal(await audit(files.path('absent')), 3, 'file_unavailable')
  })
})
