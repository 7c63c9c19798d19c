import { isAbsolute, join, normalize } from 'node:path'

/** What one line of `strace -f -y` says that matters here. */
export interface Traced {
  /** Paths opened for reading, and opened or made for writing, absolute. */
  readonly read: ReadonlySet<string>
  readonly written: ReadonlySet<string>
  /** Programs started, in order. */
  readonly programs: readonly string[]
  /** Calls that made a process, and not a thread of this one. */
  readonly processes: readonly string[]
}

const quoted = /"((?:[^"\\]|\\.)*)"/

/** Reads the trace of a process that worked in `cwd`. Calls that failed opened and wrote nothing. */
export function readTrace(text: string, cwd: string): Traced {
  const read = new Set<string>()
  const written = new Set<string>()
  const programs: string[] = []
  const processes: string[] = []
  for (const [line, result] of calls(text)) {
    const [, call = ''] = /^\d+ +([a-z0-9_]+)\(/.exec(line) ?? []
    if (/^clone3?$/.test(call) && !line.includes('CLONE_THREAD')) processes.push(line)
    if (/^v?fork$/.test(call)) processes.push(line)
    const [, path] = quoted.exec(line) ?? []
    if (path === undefined || result < 0) continue
    const absolute = isAbsolute(path) ? normalize(path) : join(cwd, path)
    if (call.startsWith('exec')) programs.push(absolute)
    else if (/^open|^creat$/.test(call)) (/O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|^\d+ +creat/.test(line) ? written : read).add(absolute)
    else if (/^(?:mkdir|unlink|rename|link|symlink)/.test(call)) {
      for (const [, one = ''] of line.matchAll(new RegExp(quoted, 'g'))) written.add(isAbsolute(one) ? normalize(one) : join(cwd, one))
    }
  }
  return { read, written, programs, processes }
}

/** Whole calls with their results: strace cuts those in two that another thread interrupts. */
function* calls(text: string): Iterable<readonly [string, number]> {
  const begun = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const resumed = /^<\.\.\. [a-z0-9_]+ resumed>(.*)$/.exec(rest)
    if (rest.endsWith('<unfinished ...>')) {
      begun.set(pid, rest.slice(0, -'<unfinished ...>'.length))
      continue
    }
    const whole = resumed === null ? rest : `${begun.get(pid) ?? ''}${resumed[1] ?? ''}`
    const [, result] = / = (-?\d+)/.exec(whole) ?? []
    // A call that never came back may have done its work.
    if (whole.includes('(')) yield [`${pid} ${whole}`, result === undefined ? 0 : Number(result)]
  }
}
