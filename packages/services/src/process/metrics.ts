/** Values of labels. Names of models, and words of closed sets; never anything of a request or of whoever made it. */
export type Labels = { readonly [name: string]: string }

export type Sample = readonly [labels: Labels, value: number]

interface Family {
  readonly name: string
  readonly type: 'gauge' | 'counter' | 'histogram'
  readonly help: string
  lines(): Iterable<string>
}

/** Different values of labels that one counter keeps; more would be a mistake of ours, and must not become memory. */
const maxSeries = 1024

/**
 * Figures of a service in Prometheus' text format 0.0.4. Our own hundred lines: prom-client brings process and cluster figures along, which read `/proc`,
 * load `cluster` and `worker_threads`, and have no place in an enclave.
 */
export class Metrics {
  readonly #families: Family[] = []

  /** `read` is called when somebody asks. */
  gauge(name: string, help: string, read: () => Iterable<Sample>): void {
    this.#read('gauge', name, help, read)
  }

  /** A counter that somebody else keeps. */
  total(name: string, help: string, read: () => Iterable<Sample>): void {
    this.#read('counter', name, help, read)
  }

  #read(type: Family['type'], name: string, help: string, read: () => Iterable<Sample>): void {
    this.#families.push({
      name,
      help,
      type,
      *lines() {
        for (const [labels, value] of read()) yield line(name, labels, value)
      },
    })
  }

  /** Gives the function that counts. */
  counter(name: string, help: string): (labels: Labels, by?: number) => void {
    const series = new Map<string, number>()
    this.#families.push({
      name,
      help,
      type: 'counter',
      *lines() {
        for (const [labels, value] of series) yield `${name}${labels} ${value}`
      },
    })
    return (labels, by = 1) => {
      const key = written(labels)
      if (series.has(key) || series.size < maxSeries) series.set(key, (series.get(key) ?? 0) + by)
    }
  }

  /** Gives the function that observes. `bounds` ascend; what is above the last is counted too. */
  histogram(name: string, help: string, bounds: readonly number[]): (labels: Labels, value: number) => void {
    const series = new Map<string, { readonly labels: Labels; readonly counts: number[]; sum: number; count: number }>()
    this.#families.push({
      name,
      help,
      type: 'histogram',
      *lines() {
        for (const { labels, counts, sum, count } of series.values()) {
          for (const [i, bound] of bounds.entries()) yield line(`${name}_bucket`, { ...labels, le: String(bound) }, counts[i] ?? 0)
          yield line(`${name}_bucket`, { ...labels, le: '+Inf' }, count)
          yield line(`${name}_sum`, labels, sum)
          yield line(`${name}_count`, labels, count)
        }
      },
    })
    return (labels, value) => {
      const key = written(labels)
      const known = series.get(key)
      if (known === undefined && series.size >= maxSeries) return
      const one = known ?? { labels, counts: bounds.map(() => 0), sum: 0, count: 0 }
      series.set(key, one)
      one.sum += value
      one.count++
      for (const [i, bound] of bounds.entries()) if (value <= bound) one.counts[i] = (one.counts[i] ?? 0) + 1
    }
  }

  text(): string {
    const parts = this.#families.flatMap((family) => [
      `# HELP ${family.name} ${family.help}`,
      `# TYPE ${family.name} ${family.type}`,
      ...family.lines(),
    ])
    return `${parts.join('\n')}\n`
  }
}

function line(name: string, labels: Labels, value: number): string {
  return `${name}${written(labels)} ${value}`
}

function written(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  )
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}
