import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'

export interface DemoOptions {
  readonly once: boolean
  readonly json: boolean
  /** Where the bundle of the validator's epoch is kept; null: beside the other files, and removed at the end. */
  readonly out: string | null
  readonly model: string
  readonly ports: DemoPorts
}

export interface DemoPorts {
  readonly api: number
  readonly control: number
  readonly broker: number
  readonly workers: readonly number[]
}

export const demoHelp = `veriteed demo: a whole verified-inference network on this machine, SIMULATED, with a real language model

Seals a model, gives its key to a key broker that was verified first, starts a worker that gets the key from there and a controller that
admits the worker, asks one question as an ordinary client and verifies every proof. Then a validator audits three workers for one epoch, one of
which cheats and is convicted, publishes its records and scores, and verifies them anew. Then the system stays up. All enclaves are
simulated. Everything binds 127.0.0.1.

Options:
  --once            stop after the validator's epoch; exit 0 when everything verified
  --json            one JSON document on stdout; progress goes to stderr
  --out DIR         keep the bundle of the epoch there, for veritee epoch verify DIR; an empty or a new directory
  --model SPEC      a .gguf file, hf:owner/repo/file.gguf (downloaded and checked), or demo (default); its ciphertext needs
                    as much room as the file, and its plain bytes the same in /dev/shm
  --port-base N     API on N, control on N+1, broker on N+2, worker i on N+10+i
                    (default: API 8000, control 21005, broker 8080, worker 21841)
  --help

Exit codes: 0 all verified, 1 something was rejected, 2 wrong usage, 3 something needed was unavailable.
`

/** Reads the demo's arguments. Throws `usage`. */
export function parseDemoOptions(args: readonly string[]): DemoOptions | 'help' {
  const options = {
    once: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    model: { type: 'string', default: 'demo' },
    'port-base': { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  } as const
  let values: ReturnType<typeof parseArgs<{ options: typeof options }>>['values']
  try {
    values = parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
  if (values.help) return 'help'
  return { once: values.once, json: values.json, model: values.model, out: values.out ?? null, ports: ports(values['port-base']) }
}

function ports(base: string | undefined): DemoPorts {
  if (base === undefined) return { api: 8000, control: 21005, broker: 8080, workers: [21841] }
  const n = /^[0-9]{1,5}$/.test(base) ? Number(base) : Number.NaN
  if (!(n >= 1024 && n <= 65_000)) throw fail('usage', `--port-base: expected a number from 1024 to 65000, found ${JSON.stringify(base)}`)
  return { api: n, control: n + 1, broker: n + 2, workers: [n + 10] }
}
