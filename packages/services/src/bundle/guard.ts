import childProcess from 'node:child_process'
import { EventEmitter } from 'node:events'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { Socket } from 'node:net'
import { basename } from 'node:path'
import workerThreads from 'node:worker_threads'
import { fail } from 'veritee/errors'

/**
 * What code in an enclave cannot do, or must not: other processes, worker threads, WHATWG `fetch`, watching files. Each fails with a code, at once and
 * everywhere, instead of with an errno of Gramine somewhere. This keeps honest code honest; what holds against other code is the enclave's manifest.
 *
 * Two things that packages do anyway are answered: Node sets an IP option that Gramine does not have, and node-llama-cpp tries its native library in a
 * child process first. The enclave's measurement says which library that is, so the answer is that it works; if it does not, loading it says so.
 */
export function guardEnclave(): void {
  const refuse = (what: string) => (): never => {
    throw fail('enclave_forbidden', `an enclave has no ${what}`)
  }
  for (const name of ['exec', 'execFile', 'execFileSync', 'execSync', 'spawn', 'spawnSync'] as const)
    Object.assign(childProcess, { [name]: refuse('other processes') })
  const forked = refuse('other processes')
  Object.assign(childProcess, { fork: (file: string) => (basename(file) === 'testBindingBinary.js' ? libraryTest() : forked()) })
  Object.assign(workerThreads, {
    Worker: class {
      constructor() {
        refuse('worker threads')()
      }
    },
  })
  Object.assign(fs, { watch: refuse('watching of files') })
  Object.assign(fs.promises, { watch: refuse('watching of files') })
  Object.assign(globalThis, { fetch: refuse('fetch') })
  syncBuiltinESMExports()
  tolerateTypeOfService()
}

/** The dialogue of node-llama-cpp with its test process, without one: ready, start, loaded, test, done, exit. */
function libraryTest(): EventEmitter {
  const child = new EventEmitter()
  const answers: { readonly [type: string]: () => boolean } = {
    start: () => child.emit('message', { type: 'loaded' }),
    test: () => child.emit('message', { type: 'done' }),
    exit: () => child.emit('exit', 0),
  }
  const send = ({ type }: { readonly type: string }): boolean => {
    setImmediate(() => answers[type]?.())
    return true
  }
  setImmediate(() => child.emit('message', { type: 'ready' }))
  return Object.assign(child, { exitCode: null, killed: false, kill: () => true, send, stdout: null, stderr: null })
}

/** Node 24 has it, its types do not yet. */
type WithTypeOfService = { setTypeOfService?: (value: number) => unknown }

/** undici asks for it on each connection, and an uncaught ENOPROTOOPT would end the process. Nothing depends on it. */
function tolerateTypeOfService(): void {
  const prototype = Socket.prototype as unknown as WithTypeOfService
  const original = prototype.setTypeOfService
  if (original === undefined) return
  prototype.setTypeOfService = function (this: unknown, value: number): unknown {
    try {
      return original.call(this, value)
    } catch {
      return this
    }
  }
}
