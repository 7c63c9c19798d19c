import { describe, expect, it } from 'vitest'
import { type About, createLog } from '../../../src/process/logs/log.ts'

const now = (): Date => new Date('2026-01-02T03:04:05.678Z')

function lines(format: 'text' | 'json', said: readonly (readonly [string, About?])[]): string[] {
  const written: string[] = []
  const report = createLog({ format, role: 'worker', write: (line) => void written.push(line), now })
  for (const [line, about] of said) report(line, about)
  return written
}

describe('a log', () => {
  it('as JSON is one object a line, with time, level and event', () => {
    const [plain = '', full = ''] = lines('json', [
      ['a note'],
      ['new keys', { event: 'keys.renewed', level: 'warn', session_id: 's', receipt_id: null, duration_ms: 1.5 }],
    ])
    expect(plain).toBe('{"time":"2026-01-02T03:04:05.678Z","level":"info","event":"service.note","role":"worker","message":"a note"}\n')
    expect(JSON.parse(full)).toEqual({
      ...{ time: '2026-01-02T03:04:05.678Z', level: 'warn', event: 'keys.renewed', role: 'worker', message: 'new keys' },
      ...{ session_id: 's', receipt_id: null, duration_ms: 1.5 },
    })
  })

  it('as text is the message, and what there is of ids', () => {
    expect(lines('text', [['a note'], ['new keys', { event: 'keys.renewed', session_id: 's', receipt_id: null }]])).toEqual([
      'a note\n',
      'new keys session_id=s\n',
    ])
  })

  it.each([
    ['credentials of a URL', 'cannot reach https://me:secret@host/x', 'cannot reach https://...@host/x'],
    ['the query of a URL', 'asked http://host/x?token=secret now', 'asked http://host/x?... now'],
    ['the fragment of a URL', 'asked "https://host/#secret"', 'asked "https://host/?..."'],
    ['a URL without either stays', 'at http://127.0.0.1:1/path', 'at http://127.0.0.1:1/path'],
  ])('cuts out %s', (_, line, expected) => {
    expect(lines('text', [[line]])).toEqual([`${expected}\n`])
    expect(JSON.parse(lines('json', [[line]])[0] ?? '')).toMatchObject({ message: expected })
  })

  it.each(['text', 'json'] as const)('whatever a peer says is one line of bounded length: %s', (format) => {
    const [line = ''] = lines(format, [[`refused: \u001b[2J\r\nservice ready\u2028\ud800${'x'.repeat(10_000)}`]])
    expect(line.indexOf('\n')).toBe(line.length - 1)
    expect(line.length).toBeLessThan(2_200)
    expect(line).not.toMatch(/[\u001b\r\u2028\ud800]/)
    expect(line).toContain('refused: ?[2J??service ready?')
  })
})
