import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { contest } from '../../../../bench/gateway/contest.ts'
import { figuresOf } from '../../../../bench/gateway/figures.ts'

test('the benchmark of the gateway runs: a worker without a model whose receipts a controller accepts, plain answers and streams, over TLS', {
  timeout: 120_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-gateway-'))
  try {
    const { tallies, leftOut } = await contest(
      {
        warmUp: 0,
        warmUpRequests: 0,
        rounds: 1,
        pairRounds: 1,
        requests: 4,
        alone: 2,
        concurrency: 2,
        shortStream: 1,
        longStream: 3,
        open: 3,
        settleMs: 0,
        columns: ['proofs, TLS', 'proofs, TLS, EHBP'],
      },
      directory,
    )
    expect(tallies.map(({ contestant }) => contestant.name)).toEqual([
      'direct, TLS',
      'passthrough with proofs, TLS',
      ...(leftOut.some((line) => line.includes('HTTP/2')) ? [] : ['passthrough with proofs and HTTP/2, TLS']),
      'controller, TLS',
      'controller with API keys and limits, TLS',
      'controller over HTTP/2, TLS',
      'passthrough with proofs, TLS, EHBP',
      'controller, TLS, EHBP',
      'controller with API keys and limits, TLS, EHBP',
      'controller over HTTP/2, TLS, EHBP',
    ])
    const figures = figuresOf({ tallies, leftOut: [] })
    const of = (name: string): number | undefined => figures.find((figure) => figure.name === name)?.value
    expect(of('controller, TLS: a request')).toBeGreaterThan(0)
    expect(of('proofs, TLS: a request, give or take (95 %)')).toBeGreaterThanOrEqual(0)
    expect(of('proofs, TLS: a request, times the passthrough')).toBeGreaterThan(0)
    expect(of('proofs, TLS, with API keys and limits: a request, times the passthrough')).toBeGreaterThan(0)
    expect(of('proofs, TLS, EHBP: a request, times the passthrough')).toBeGreaterThan(0)
    expect(of('proofs, TLS, EHBP: an event, times the passthrough')).toBeDefined()
    expect(of('controller, TLS: in memory, streams open')).toBeGreaterThan(10)
    for (const column of ['TLS', 'TLS, EHBP']) {
      expect(of(`controller over HTTP/2, ${column}: a request`)).toBeGreaterThan(0)
      expect(of(`proofs, ${column}: 150 MB over memory with streams open over HTTP/2`)).toBeGreaterThan(0)
    }
    expect(figures.filter(({ target }) => target !== null).length).toBeGreaterThan(0)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

test('where a receipt of the worker does not match, the benchmark fails and gives no figures', { timeout: 120_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-gateway-'))
  try {
    const sizes = {
      warmUp: 0,
      warmUpRequests: 0,
      rounds: 1,
      pairRounds: 0,
      requests: 2,
      alone: 1,
      concurrency: 1,
      shortStream: 1,
      longStream: 2,
      open: 1,
      settleMs: 0,
    }
    await expect(contest({ ...sizes, columns: ['proofs, TLS'] }, directory, 'forged')).rejects.toThrow(/controller, TLS: .*withheld/s)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
