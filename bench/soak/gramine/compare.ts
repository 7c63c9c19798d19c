import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ask, chatBody } from 'veritee/client'
import { rootOf, startOf } from '../../../packages/services/test/deploy/as-manifest.ts'
import { forDirect, type Started, startIn } from '../../../packages/services/test/deploy/gramine/direct.ts'
import type { Bundled, Ground } from '../../../packages/services/test/deploy/gramine/ground.ts'

/** What a process took: wall clock and processor in milliseconds, memory in MiB. */
export interface Figures {
  readonly wall_ms: number
  readonly cpu_ms: number
  readonly resident_mib: number
  /** All that it ever reserved of address space, which without EDMM an enclave must have as memory. */
  readonly reserved_mib: number
  readonly threads: number
}

/** At this moment, since it was started. */
export async function figuresOf({ pid, since }: Started): Promise<Figures> {
  const wall = performance.now() - since
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const figure = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1])
  const mib = (name: string): number => Math.round(figure(name) / 1024)
  return { wall_ms: Math.round(wall), cpu_ms: await cpuOf(pid), resident_mib: mib('VmHWM'), reserved_mib: mib('VmPeak'), threads: figure('Threads') }
}

/** Of all threads, in user and system mode; the kernel counts in hundredths of a second. */
async function cpuOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
  return 10 * (Number(fields[11]) + Number(fields[12]))
}

export function medianOf(figures: readonly Figures[]): Figures {
  const of = (name: keyof Figures): number => median(figures.map((one) => one[name]))
  return { wall_ms: of('wall_ms'), cpu_ms: of('cpu_ms'), resident_mib: of('resident_mib'), reserved_mib: of('reserved_mib'), threads: of('threads') }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Starts a role as its manifest says, on Linux and with this machine's C library, over the same stand-in for the quote device. */
export async function underLinux(
  ground: Ground,
  image: Ground['image'],
  name: string,
  role: Bundled,
  use: (started: Started) => Promise<void>,
): Promise<void> {
  const root = join(image.root, '..', name)
  const start = startOf(await ground.rendered(role, image))
  await rootOf(start, image, root)
  await ground.configure(role, root)
  await mkdir(join(root, 'dev/attestation'), { recursive: true })
  const quotes = await ground.quotes(role, join(root, 'dev/attestation'))
  const started = startIn(
    root,
    Object.entries(start.environment).map(([name, value]) => `${name}=${value}`),
    start.argv,
  )
  try {
    await use(started)
  } finally {
    await started.stop()
    await quotes.stop()
  }
}

export interface Compared {
  /** Of the worker under Gramine after eight requests at a time. */
  readonly loaded: Figures & { readonly answers: number }
  readonly answers: number
  /** Answers whose text was not the same under Gramine. */
  readonly different: number
  readonly tokens: number
  readonly gramine: { readonly median_ms: number; readonly tokens_per_second: number; readonly cpu_ms_per_token: number }
  readonly linux: { readonly median_ms: number; readonly tokens_per_second: number; readonly cpu_ms_per_token: number }
}

/** The same questions to a worker of each kind, in turn and one at a time, then streams to that under Gramine alone; each receipt is verified. */
export async function compareAnswers(ground: Ground, image: Ground['image'], count: number, progress: (line: string) => void): Promise<Compared> {
  const took = { gramine: [] as number[], linux: [] as number[] }
  const cpu = { gramine: 0, linux: 0 }
  let tokens = 0
  let different = 0
  let loaded: Compared['loaded'] | null = null
  await ground.under('answers', 'worker', forDirect(await ground.rendered('worker')), (gramine) =>
    underLinux(ground, image, 'answers-linux', 'worker', async (linux) => {
      const services = {
        gramine: await ground.verified((await gramine.ready).url, 'worker'),
        linux: await ground.verified((await linux.ready).url, 'worker'),
      }
      const pids = { gramine: gramine.pid, linux: linux.pid }
      const once = async (kind: 'gramine' | 'linux', i: number): Promise<{ readonly text: string; readonly tokens: number }> => {
        const body = chatBody('veritee-demo', `Tell me something about the number ${i}.`, { temperature: 1, seed: i, maxTokens: 128 })
        const before = await cpuOf(pids[kind])
        const begun = performance.now()
        const answer = await ask(services[kind], '/v1/chat/completions', body)
        took[kind].push(performance.now() - begun)
        cpu[kind] += (await cpuOf(pids[kind])) - before
        if (answer.proof.outcome !== 'verified') throw new Error(`${kind}: the proof of answer ${i} is ${answer.proof.outcome}`)
        const { choices, usage } = JSON.parse(new TextDecoder().decode(answer.responseBody)) as {
          choices: { message: { content: string } }[]
          usage: { completion_tokens: number }
        }
        return { text: choices[0]?.message.content ?? '', tokens: usage.completion_tokens }
      }
      for (let i = 0; i < count; i++) {
        const here = await once('gramine', i)
        const there = await once('linux', i)
        tokens += here.tokens
        if (here.text !== there.text) different++
        progress(`${i + 1} of ${count} answers, ${different} different`)
      }
      let next = 0
      const one = async (): Promise<void> => {
        while (next < 4 * count) {
          const body = chatBody('veritee-demo', `What comes after ${next}?`, { temperature: 1, seed: next++, maxTokens: 128, stream: true })
          const { proof } = await ask(services.gramine, '/v1/chat/completions', body)
          if (proof.outcome !== 'verified') throw new Error(`under load: the proof of an answer is ${proof.outcome}`)
        }
      }
      await Promise.all(Array.from({ length: 8 }, one))
      loaded = { answers: 4 * count, ...(await figuresOf(gramine)) }
    }),
  )
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
  const of = (kind: 'gramine' | 'linux'): Compared['gramine'] => ({
    median_ms: Math.round(median(took[kind])),
    tokens_per_second: Math.round((tokens * 1000) / sum(took[kind])),
    cpu_ms_per_token: Math.round((cpu[kind] / tokens) * 100) / 100,
  })
  if (loaded === null) throw new Error('expected figures under load')
  return { answers: count, different, tokens, loaded, gramine: of('gramine'), linux: of('linux') }
}
