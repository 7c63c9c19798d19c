import { expect, test } from 'vitest'
import { showProgress } from '../../src/models/progress.ts'

function run(isTTY: boolean): {
  readonly written: string[]
  readonly at: (milliseconds: number, bytes: number, total?: number | null) => void
  readonly end: () => void
} {
  const written: string[] = []
  let time = 0
  const display = showProgress('model', { isTTY, columns: 60, write: (text) => written.push(text) }, () => time)
  return {
    written,
    at: (milliseconds, receivedBytes, totalBytes = 10_000_000) => {
      time = milliseconds
      display.update({ receivedBytes, totalBytes })
    },
    end: display.end,
  }
}

test('not a terminal: a plain line every five seconds, and the last state', () => {
  const { written, at, end } = run(false)
  for (let second = 0; second <= 11; second++) at(second * 1000, second * 900_000)
  end()
  expect(written).toEqual([
    'model  0%  0 kB of 10.0 MB\n',
    'model  45%  4.5 MB of 10.0 MB  900 kB/s\n',
    'model  90%  9.0 MB of 10.0 MB  900 kB/s\n',
    'model  99%  9.9 MB of 10.0 MB  900 kB/s\n',
  ])
})

test('a terminal: one line redrawn in place, at most ten times a second, never wider than it', () => {
  const { written, at, end } = run(true)
  for (let ms = 0; ms <= 1000; ms += 10) at(ms, ms * 10_000)
  end()
  expect(written.length).toBeLessThanOrEqual(13)
  for (const text of written.slice(0, -1)) {
    expect(text.startsWith('\r\x1b[2K')).toBe(true)
    expect(text.length).toBeLessThanOrEqual(60 + 4)
  }
  expect(written.at(-2)).toContain('[########################] 100%')
  expect(written.at(-1)).toBe('\n')
})

test('bytes of an earlier run do not count as speed, and an unknown size shows what came', () => {
  const resumed = run(false)
  resumed.at(0, 5_000_000)
  resumed.at(5000, 6_000_000)
  expect(resumed.written[1]).toBe('model  60%  6.0 MB of 10.0 MB  200 kB/s\n')
  const unknown = run(false)
  unknown.at(0, 2_500_000_000, null)
  expect(unknown.written[0]).toBe('model  2.50 GB\n')
})

test('without an update there is nothing to end', () => {
  const { written, end } = run(true)
  end()
  expect(written).toEqual([])
})
