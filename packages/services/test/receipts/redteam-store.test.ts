import { createHash } from 'node:crypto'
import { copyFile, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger } from '../../src/enclave/runtime/ledger.ts'
import { facts, hash, identities, now, type StateDirectory, stateDirectory, streamOf } from './enclave.ts'

/**
 * Somebody with the file of receipts in his hands between two runs: he reads it, writes any SQL, and puts back what it was. He owns receipts of his own.
 * He must not get another's receipt, nor make one; the worst he brings about is that receipts are gone.
 */

let identity: Identity
let state: StateDirectory
let victim = { id: '', text: '' }
let attacker = { id: '', text: '' }
const [victimKey, attackerKey] = ['sk-victim-key', 'sk-attacker-key']
const promptHash = `sha256:${'ab12'.repeat(16)}`

beforeAll(async () => {
  identity = await (await identities()).make()
})
beforeEach(async () => {
  state = await stateDirectory()
  const ledger = await open()
  victim = await signed(ledger, victimKey, 'chatcmpl-victim')
  attacker = await signed(ledger, attackerKey, 'chatcmpl-attacker')
  await ledger.close()
})
const made: string[] = []
afterAll(() => Promise.all(made.map((directory) => rm(directory, { recursive: true, force: true }))))

async function open(): Promise<Ledger> {
  made.push(dirname(state.file))
  return new Ledger({ identity, now, archive: await state.open(), report: await identity.report(null), waitMs: 20 })
}

async function signed(ledger: Ledger, key: string, chatId: string): Promise<{ id: string; text: string }> {
  const receipt = ledger.open(key)
  const events = [{ type: 'request.received', body_hash: promptHash } as const, { type: 'response.returned', body_hash: hash } as const]
  const text = await receipt.finish(facts({ chatId, events, stream: await streamOf(4) }))
  return { id: receipt.id, text: text.toString() }
}

/** Between two runs. `NAME` and `ALIAS` in it are what the victim's receipt is called in the table. */
function sql(text: string): void {
  const database = new DatabaseSync(state.file)
  const { key, alias } = database.prepare('SELECT key, alias FROM receipts WHERE number = 1').get() ?? {}
  database.exec(text.replaceAll('NAME', String(key)).replaceAll('ALIAS', String(alias)))
  database.close()
}

/** What each name and key gives after the attack: the text of a receipt, or why there is none. */
async function matrix(): Promise<Record<string, string>> {
  const ledger = await open()
  const seen: Record<string, string> = {}
  for (const [name, id] of Object.entries({ victim: victim.id, attacker: attacker.id, vchat: 'chatcmpl-victim', achat: 'chatcmpl-attacker' }))
    for (const [who, key] of [
      ['victim', victimKey],
      ['attacker', attackerKey],
      ['nobody', null],
    ] as const) {
      const lookup = await ledger.find(id, key)
      seen[`${name} as ${who}`] =
        lookup.kind === 'found' ? (lookup.text === victim.text ? 'VICTIM' : lookup.text === attacker.text ? 'ATTACKER' : 'OTHER') : lookup.kind
    }
  await ledger.close()
  return seen
}

/** Whatever was done, a receipt goes to its own key only, unchanged, or to nobody. */
function held(seen: Record<string, string>): void {
  for (const [what, result] of Object.entries(seen)) {
    expect(result, what).not.toBe('OTHER')
    if (result === 'VICTIM') expect(what).toMatch(/^v.* as victim$/)
    if (result === 'ATTACKER') expect(what).toMatch(/^a.* as attacker$/)
  }
}

describe('S3: with full access to the store', () => {
  test('nothing done: each finds his own', async () => {
    const seen = await matrix()
    held(seen)
    expect(seen).toMatchObject({
      'victim as victim': 'VICTIM',
      'vchat as victim': 'VICTIM',
      'attacker as attacker': 'ATTACKER',
      'victim as nobody': 'unauthorized',
    })
  })

  const edits: Readonly<Record<string, string>> = {
    'boxes exchanged: the box of the victim under the name of the attacker':
      'UPDATE receipts SET box = (SELECT r.box FROM receipts r WHERE r.number = 3 - receipts.number)',
    'the name of the victim for the attacker': "UPDATE receipts SET key = 'x' WHERE number = 1; UPDATE receipts SET key = 'NAME' WHERE number = 2",
    'the chat id of the victim for the attacker':
      "UPDATE receipts SET alias = NULL WHERE number = 1; UPDATE receipts SET alias = 'ALIAS' WHERE number = 2",
    'the box of the victim copied to the attacker, halves mixed':
      'UPDATE receipts SET box = CAST(substr((SELECT box FROM receipts WHERE number = 1), 1, 400) || substr(box, 401) AS BLOB) WHERE number = 2',
    'a receipt in the place of a keyset': 'UPDATE documents SET box = (SELECT box FROM receipts WHERE number = 1) WHERE number > 1',
    'a keyset in the place of a receipt': 'UPDATE receipts SET box = (SELECT box FROM documents ORDER BY number DESC LIMIT 1)',
    'boxes emptied': "UPDATE receipts SET box = x''",
    'boxes shortened': 'UPDATE receipts SET box = substr(box, 1, length(box) - 1)',
    'boxes of text': "UPDATE receipts SET box = CAST('text' AS BLOB)",
    'one byte of each box':
      "UPDATE receipts SET box = CAST(substr(box, 1, 60) || CASE substr(box, 61, 1) WHEN x'00' THEN x'01' ELSE x'00' END || substr(box, 62) AS BLOB)",
    'another version of box': "UPDATE receipts SET box = CAST(x'02' || substr(box, 2) AS BLOB)",
    'every other column': "UPDATE receipts SET kind = 7, at = 9223372036854775807, keyset = '', session = 'x'",
    'all rows deleted': 'DELETE FROM receipts',
  }
  test.for(Object.entries(edits))('%s', async ([, statement]) => {
    sql(statement)
    held(await matrix())
  })

  test('what was changed is counted, and is as if absent', async () => {
    sql(edits['one byte of each box'] ?? '')
    const ledger = await open()
    expect((await ledger.find(victim.id, victimKey)).kind).toBe('not_found')
    expect(ledger.figures.veritee_store_rejected_rows_total).toBe(1)
    await ledger.close()
  })

  test('a report in another keyset’s place does not open', async () => {
    sql('UPDATE documents SET box = (SELECT box FROM documents ORDER BY number LIMIT 1) WHERE number = (SELECT max(number) FROM documents)')
    const ledger = await open()
    expect(await ledger.document('keyset', identity.keysetDigest)).toBeNull()
    await ledger.close()
  })

  test('an old dump put back: what was signed since is gone, the rest is as it was, and the next receipt has its own place', async () => {
    const dump = `${state.file}.dump`
    await copyFile(state.file, dump)
    const between = await open()
    const later = await signed(between, victimKey, 'chatcmpl-later')
    await between.close()
    await copyFile(dump, state.file)
    held(await matrix())
    const ledger = await open()
    expect((await ledger.find(later.id, victimKey)).kind).toBe('not_found')
    expect((await ledger.find(victim.id, victimKey)).kind).toBe('found')
    await signed(ledger, attackerKey, 'chatcmpl-later')
    expect((await ledger.find('chatcmpl-later', victimKey)).kind).toBe('not_found')
    await ledger.close()
  })

  test('the mark taken away: refused, not begun anew', async () => {
    sql('DELETE FROM documents')
    await expect(open()).rejects.toMatchObject({ code: 'receipt_store_invalid' })
  })
})

describe('S6: from a stolen file', () => {
  test('no receipt id, chat id, hash of a body, API key or plain hash of one can be read, and no text of a receipt', async () => {
    const bytes = await readFile(state.file)
    const sha = (encoding: 'hex' | 'base64'): string => createHash('sha256').update(victimKey).digest(encoding)
    const secrets = [
      victim.id,
      victim.id.slice(5),
      'chatcmpl-victim',
      promptHash.slice(7),
      victimKey,
      sha('hex'),
      sha('base64'),
      'request.received',
      'veritee.chain',
    ]
    for (const secret of [...secrets, ...secrets.filter((text) => /^[0-9a-f]+$/.test(text)).map((text) => Buffer.from(text, 'hex'))])
      expect(bytes.includes(secret), String(secret)).toBe(false)
    // The search itself finds what is there.
    expect(bytes.includes('CREATE TABLE receipts')).toBe(true)
  })
})
