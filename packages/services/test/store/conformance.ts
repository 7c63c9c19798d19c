import { describe, expect, test } from 'vitest'
import { type AuthorityRow, type AuthorityStore, partRows } from '../../src/store/authority-store.ts'
import { maxBoxBytes, type ReceiptRow, type ReceiptStore, type StoreBounds } from '../../src/store/receipt-store.ts'

export const roomy: StoreBounds = { maxAnswers: 1000, maxRefusals: 1000, maxAgeSeconds: 1000, maxBytes: 1 << 30 }

export function row(key: string, changes: Partial<ReceiptRow> = {}): ReceiptRow {
  return { key, alias: null, kind: 'answer', at: 1000, keyset: 'keyset', session: null, account: null, box: Buffer.from(`box of ${key}`), ...changes }
}

const document = (key: string): { key: string; box: Uint8Array } => ({ key, box: Buffer.from(`document ${key}`) })
const text = (box: Uint8Array | null): string | null => (box === null ? null : Buffer.from(box).toString())

export function authorityRow(key: string, version: number): AuthorityRow {
  return { table: 't', key, version, content: Buffer.from('c'), mac: Buffer.from([version % 256]) }
}

/** Of rows that begin with `m/`, in the order of their keys. */
async function scanned(authority: AuthorityStore, known: readonly [string, number][], most = 1 << 20): Promise<[string, number][]> {
  const found: [string, number][] = []
  await authority.scan('t', 'm/', most, new Map(known), async (rows) => {
    for (const { key, version } of rows) found.push([key.slice(2), version])
    return true
  })
  return found.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** What every store must do. `open` gives an empty one; `full` is a bound of bytes that a few rows of 8 KiB exceed. */
export function conformance(open: () => Promise<ReceiptStore>, full: number): void {
  const using = async (play: (store: ReceiptStore) => Promise<void>): Promise<void> => {
    const store = await open()
    try {
      await play(store)
    } finally {
      await store.close()
    }
  }
  const keys = async (store: ReceiptStore, ...wanted: string[]): Promise<string[]> => {
    const found: string[] = []
    for (const key of wanted) if ((await store.receipt(key)) !== null) found.push(key)
    return found
  }

  describe('conformance', () => {
    test('gives back what was put, by key and by alias, and nothing else', () =>
      using(async (store) => {
        await store.put([row('a', { alias: 'x' }), row('b')], [document('keyset')])
        expect(text(await store.receipt('a'))).toBe('box of a')
        expect(text(await store.document('keyset'))).toBe('document keyset')
        const found = await store.receiptByAlias('x')
        expect([found?.key, text(found?.box ?? null)]).toEqual(['a', 'box of a'])
        expect(await Promise.all([store.receipt('x'), store.receipt('keyset'), store.receiptByAlias('a'), store.document('a')])).toEqual(
          Array(4).fill(null),
        )
        expect(store.usage).toMatchObject({ answers: 2, refusals: 0, documents: 1 })
      }))

    test('a row or document that is there stays as it is, whatever is put under its key', () =>
      using(async (store) => {
        await store.put([row('a')], [document('d')])
        await store.put([row('a', { box: Buffer.from('other') }), row('b')], [{ key: 'd', box: Buffer.from('other') }])
        expect([text(await store.receipt('a')), text(await store.document('d'))]).toEqual(['box of a', 'document d'])
        expect(store.usage).toMatchObject({ answers: 2, documents: 1 })
      }))

    test('tells which documents rows cite that are not there', () =>
      using(async (store) => {
        expect(await store.put([row('a', { session: 's' })], [document('s')])).toEqual(['keyset'])
        expect(await store.put([], [document('keyset')])).toEqual([])
        expect(await store.put([row('b', { session: 's' })], [])).toEqual([])
      }))

    test('an alias belongs to the first that had it, until that one goes', () =>
      using(async (store) => {
        await store.put([row('a', { alias: 'x' }), row('b', { alias: 'x' })], [])
        await store.put([row('c', { alias: 'x' })], [])
        expect((await store.receiptByAlias('x'))?.key).toBe('a')
        await store.trim({ ...roomy, maxAnswers: 2 }, 1000, 10)
        expect(await keys(store, 'a', 'b', 'c')).toEqual(['b', 'c'])
        expect(await store.receiptByAlias('x')).toBeNull()
        await store.put([row('d', { alias: 'x' })], [])
        expect((await store.receiptByAlias('x'))?.key).toBe('d')
      }))

    test('removes the oldest beyond the count, of each kind apart, and only so many at once', () =>
      using(async (store) => {
        const bounds = { ...roomy, maxAnswers: 2, maxRefusals: 1 }
        await store.put([row('a'), row('r', { kind: 'refusal' }), row('b'), row('s', { kind: 'refusal' }), row('c')], [])
        expect((await store.trim(bounds, 1000, 1)).receipts).toBe(1)
        expect((await store.trim(bounds, 1000, 1)).receipts).toBe(1)
        expect((await store.trim(bounds, 1000, 1)).receipts).toBe(0)
        expect(await keys(store, 'a', 'b', 'c', 'r', 's')).toEqual(['b', 'c', 's'])
        expect(store.usage).toMatchObject({ answers: 2, refusals: 1 })
      }))

    test('removes what is too old', () =>
      using(async (store) => {
        await store.put([row('a', { at: 10 }), row('r', { at: 11, kind: 'refusal' }), row('b', { at: 500 })], [])
        expect((await store.trim({ ...roomy, maxAgeSeconds: 100 }, 200, 10)).receipts).toBe(2)
        expect(await keys(store, 'a', 'r', 'b')).toEqual(['b'])
      }))

    test('removes the oldest answers while there are too many bytes', () =>
      using(async (store) => {
        const names = Array.from({ length: 40 }, (_, i) => `k${i}`)
        for (const key of names) await store.put([row(key, { box: new Uint8Array(8192) })], [])
        const before = store.usage.bytes
        expect(before).toBeGreaterThan(full)
        for (let i = 0; i < 100; i++) await store.trim({ ...roomy, maxBytes: full }, 1000, 1)
        expect(store.usage.bytes).toBeLessThanOrEqual(full)
        const left = await keys(store, ...names)
        expect(left.length).toBeGreaterThan(0)
        expect(left).toEqual(names.slice(-left.length))
      }))

    test('S25: a document goes with the last receipt that cites it, and is then reported; one that nothing ever cited stays', () =>
      using(async (store) => {
        await store.put([row('a', { session: 's' }), row('b')], [document('keyset'), document('s'), document('mark')])
        expect(await store.trim({ ...roomy, maxAnswers: 1 }, 1000, 10)).toEqual({ receipts: 1, documents: ['s'] })
        expect([await store.document('s'), text(await store.document('keyset'))]).toEqual([null, 'document keyset'])
        expect(await store.trim({ ...roomy, maxAnswers: 0 }, 1000, 10)).toEqual({ receipts: 1, documents: ['keyset'] })
        expect([await store.document('keyset'), text(await store.document('mark'))]).toEqual([null, 'document mark'])
        expect(store.usage).toMatchObject({ answers: 0, documents: 1 })
      }))

    test('S25: a document that is put after the rows that cite it stays as long as one of them does', () =>
      using(async (store) => {
        await store.put([row('a', { session: 's' }), row('b', { session: 's' })], [])
        await store.put([], [document('s'), document('keyset')])
        await store.put([row('c', { session: 's' }), row('d')], [])
        expect((await store.trim({ ...roomy, maxAnswers: 2 }, 1000, 10)).documents).toEqual([])
        expect([text(await store.document('s')), text(await store.document('keyset'))]).toEqual(['document s', 'document keyset'])
        expect((await store.trim({ ...roomy, maxAnswers: 1 }, 1000, 10)).documents).toEqual(['s'])
        expect((await store.trim({ ...roomy, maxAnswers: 0 }, 1000, 10)).documents).toEqual(['keyset'])
        expect(store.usage).toMatchObject({ answers: 0, documents: 0 })
        // Nothing cites it any more, and nothing will remove it.
        await store.put([], [document('s')])
        expect(text(await store.document('s'))).toBe('document s')
      }))

    test('gives the rows of one account, in pages, in the order in which they were put, as long as they are kept', () =>
      using(async (store) => {
        for (let i = 0; i < 5; i++)
          await store.put([row(`a${i}`, { account: 'x' }), row(`b${i}`, { account: 'y', kind: 'refusal' }), row(`c${i}`)], [])
        const first = await store.ofAccount('x', 0, 3, 1e6)
        const rest = await store.ofAccount('x', first.at(-1)?.number ?? 0, 3, 1e6)
        expect([...first, ...rest].map(({ key, box }) => [key, text(box)])).toEqual([0, 1, 2, 3, 4].map((i) => [`a${i}`, `box of a${i}`]))
        // Boxes of 9 bytes: the third one begins at 18.
        for (const [bytes, rows] of [
          [1, 1],
          [18, 2],
          [19, 3],
        ] as const)
          expect((await store.ofAccount('x', 0, 9, bytes)).length).toBe(rows)
        await store.trim({ ...roomy, maxAnswers: 2 }, 1000, 64)
        expect((await store.ofAccount('x', 0, 9, 1e6)).map(({ key }) => key)).toEqual(['a4'])
        expect((await store.ofAccount('y', 0, 9, 1e6)).length).toBe(5)
        expect(await store.ofAccount('z', 0, 9, 1e6)).toEqual([])
        await store.put([row('d', { account: 'x' })], [])
        expect((await store.ofAccount('x', 0, 9, 1e6)).map(({ key }) => key)).toEqual(['a4', 'd'])
      }))

    test('goes through rows in parts, each in a turn of its own, and gives every one of them once', () =>
      using(async ({ authority }) => {
        const keys = Array.from({ length: 3 * partRows + 7 }, (_, i) => `m/${String(i).padStart(6, '0')}`)
        await authority.raise(['a', 'm', 'm-', 'm0', 'z', ...keys].map((key) => authorityRow(key, 1)))
        await authority.raise([{ ...authorityRow('m/u', 1), table: 'u' }])
        let turn = 0
        let watched = true
        const next = (): void => {
          turn++
          if (watched) setImmediate(next)
        }
        setImmediate(next)
        const parts: { readonly turn: number; readonly keys: readonly string[] }[] = []
        await authority.scan('t', 'm/', 1 << 20, new Map(), async (rows) => {
          parts.push({ turn, keys: rows.map(({ key }) => key) })
          return true
        })
        watched = false
        expect(parts.flatMap((part) => part.keys).sort()).toEqual(keys)
        expect(Math.max(...parts.map((part) => part.keys.length))).toBeLessThanOrEqual(partRows)
        expect(new Set(parts.map((part) => part.turn)).size).toBe(parts.length)
        let taken = 0
        await authority.scan('t', 'm/', 1 << 20, new Map(), async (rows) => {
          taken += rows.length
          return taken === 0
        })
        expect(taken).toBe(partRows)
        expect((await scanned(authority, [], partRows + 9)).length).toBe(partRows + 9)
      }))

    test('leaves out of a scan what is no newer than what is known of its writer, by the end of its key', () =>
      using(async ({ authority }) => {
        const [one, other] = ['1'.repeat(16), '2'.repeat(16)]
        const rows = [`m/a/${one}`, `m/b/${one}`, `m/a/${other}`, `n/a/${one}`, 'm/short']
        await authority.raise(rows.map((key, i) => authorityRow(key, [4, 5, 4, 9, 1][i] ?? 0)))
        const all = [
          [`a/${one}`, 4],
          [`a/${other}`, 4],
          [`b/${one}`, 5],
          ['short', 1],
        ]
        expect(await scanned(authority, [])).toEqual(all)
        expect(await scanned(authority, [[one, 4]])).toEqual(all.slice(1))
        expect(await scanned(authority, [[one, 5]])).toEqual([all[1], all[3]])
        expect((await scanned(authority, [[one, 5]], 1)).length).toBe(1)
        expect(
          await scanned(authority, [
            [one, Number.MAX_SAFE_INTEGER],
            [other, 3],
            ['3'.repeat(16), 9],
          ]),
        ).toEqual([all[1], all[3]])
        // Names that mean something to a server, or to JavaScript, are names.
        expect(
          await scanned(authority, [
            ['__proto__', 9],
            [`'"\\{}%_\n`, 9],
            ['short', 1],
          ]),
        ).toEqual(all)
      }))

    test('keeps rows of authority: replaced where the version is as said, raised where it is newer, listed by prefix, removed', () =>
      using(async ({ authority }) => {
        const of = (key: string, version: number, content = `${key} ${version}`): AuthorityRow => ({
          table: 't',
          key,
          version,
          content: Buffer.from(content),
          mac: Buffer.alloc(32, version),
        })
        const seen = async (key: string): Promise<unknown> => {
          const found = await authority.read('t', key)
          return found === null
            ? null
            : [found.table, found.key, found.version, text(found.content), Buffer.from(found.mac).toString('hex').slice(0, 2)]
        }
        expect([await seen('a'), await authority.version('t', 'a')]).toEqual([null, null])
        expect(await authority.replace(of('a', 1), 0)).toBe(false)
        expect(await authority.replace(of('a', 1), null)).toBe(true)
        expect(await authority.replace(of('a', 2), null)).toBe(false)
        expect(await seen('a')).toEqual(['t', 'a', 1, 'a 1', '01'])
        expect(await authority.replace(of('a', 5), 1)).toBe(true)
        expect(await authority.replace(of('a', 6), 1)).toBe(false)
        expect([await seen('a'), await authority.version('t', 'a')]).toEqual([['t', 'a', 5, 'a 5', '05'], 5])
        await authority.raise([of('b', 3), of('a', 4), of('c', 1)])
        await authority.raise([of('b', 2), of('c', 7), of('%', 1)])
        await authority.raise([])
        const listed = async (prefix: string, most = 9): Promise<unknown> =>
          (await authority.list('t', prefix, most)).map(({ key, version }) => [key, version])
        expect(await listed('')).toEqual([
          ['%', 1],
          ['a', 5],
          ['b', 3],
          ['c', 7],
        ])
        expect([await listed('', 2), await listed('%'), await listed('a'), await authority.list('u', '', 9)]).toEqual([
          [
            ['%', 1],
            ['a', 5],
          ],
          [['%', 1]],
          [['a', 5]],
          [],
        ])
        await authority.remove('t', ['a', 'c', 'none'])
        expect(await listed('')).toEqual([
          ['%', 1],
          ['b', 3],
        ])
        expect(await authority.replace(of('a', 1), null)).toBe(true)
      }))

    test('a box too large to have been written here is as if absent', () =>
      using(async (store) => {
        await store.put([row('a', { box: new Uint8Array(maxBoxBytes + 1) }), row('b', { box: new Uint8Array(maxBoxBytes) })], [])
        expect(await keys(store, 'a', 'b')).toEqual(['b'])
        const { answers, bytes } = store.usage
        await store.put([row('a')], [])
        expect([await store.receipt('a'), store.usage]).toEqual([null, expect.objectContaining({ answers, bytes })])
      }))
  })
}
