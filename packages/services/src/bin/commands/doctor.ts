import { parseArgs } from 'node:util'
import { fail } from 'veritee/errors'
import { type Role, roles } from 'veritee/policy'
import { diagnose, diagnosisText } from '../../deploy/doctor/doctor.ts'
import { size } from '../../deploy/doctor/finding.ts'
import { thisMachine } from '../../deploy/doctor/machine.ts'
import { sizeModel } from '../../deploy/doctor/size-model.ts'
import { paths } from '../../deploy/layout.ts'
import { gramineSize, sizeEnclave } from '../../deploy/sizing.ts'
import type { Command } from '../command.ts'

const help = `veriteed doctor: can an enclave run here? Each finding names what mends it; nothing is changed

  veriteed doctor [--role ROLE] [--size MODEL] [--threads N] [--max-context N] [--sequences N] [--edmm]
                  [--pccs URL] [--collateral FILE] [--state DIR] [--root DIR] [--json]
  --role ROLE        ${roles.join(', ')} (default: worker)
  --size MODEL       a .gguf file: memory and threads of the enclave are computed from it, and what to tell veriteed manifest render
  --threads N        of one evaluation (default: 1)
  --max-context N    most tokens of prompt and answer together (default: 4096)
  --sequences N      requests evaluated together (default: 4)
  --edmm             memory is added while the enclave runs
  --pccs URL         a PCCS (default: that of /etc/sgx_default_qcnl.conf)
  --collateral FILE  default: ${paths.configuration}/collateral.json
  --state DIR        default: ${paths.state}
  --root DIR         look into a file system below this directory

Exit codes: 0 no problem, 1 some, 2 wrong usage, 3 the model cannot be read.
`

const listening: { readonly [R in Role]: readonly number[] } = { controller: [8000, 21_005], worker: [21_841], broker: [8080], validator: [] }

export const command: Command = {
  run: async (args) => {
    const values = read(args)
    if (values.help) {
      process.stdout.write(help)
      return 0
    }
    const role = roles.find((one) => one === values.role)
    if (role === undefined) throw fail('usage', `--role: expected ${roles.join(', ')}`)
    const threads = role === 'worker' ? count(values.threads, 'threads', 256) : 0
    const options = { maxContext: count(values['max-context'], 'max-context', 1_048_576), sequences: count(values.sequences, 'sequences', 4) }
    const model = values.size === undefined ? null : await sizeModel(values.size, options)
    const { weights, context } = model ?? { weights: 0, context: 0 }
    const sizing = sizeEnclave(role, { weights, context, threads }, values.edmm)
    const plan = { role, sizing, threads, state: values.state, collateral: values.collateral, pccs: values.pccs ?? null, ports: listening[role] }
    const diagnosis = await diagnose(thisMachine(values.root), plan)
    const problems = diagnosis.findings.some(({ status }) => status === 'problem')
    if (values.json) process.stdout.write(`${JSON.stringify({ ok: !problems, role, sizing, model, ...diagnosis }, null, 2)}\n`)
    else {
      process.stdout.write(diagnosisText(diagnosis))
      if (model !== null)
        process.stdout.write(
          `${size(weights)} of weights, ${size(context)} of context: an enclave of ${gramineSize(sizing.enclaveBytes)} with ${sizing.maxThreads} threads\n  veriteed manifest render --role worker --weights ${weights} --context ${context} --threads ${threads}${values.edmm ? ' --edmm' : ''}\n`,
        )
    }
    return problems ? 1 : 0
  },
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      strict: true,
      options: {
        role: { type: 'string', default: 'worker' },
        size: { type: 'string' },
        threads: { type: 'string', default: '1' },
        'max-context': { type: 'string', default: '4096' },
        sequences: { type: 'string', default: '4' },
        edmm: { type: 'boolean', default: false },
        pccs: { type: 'string' },
        collateral: { type: 'string', default: `${paths.configuration}/collateral.json` },
        state: { type: 'string', default: paths.state },
        root: { type: 'string', default: '/' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

function count(value: string, name: string, max: number): number {
  if (!/^[1-9][0-9]{0,6}$/.test(value) || Number(value) > max) throw fail('usage', `--${name}: expected 1 to ${max}`)
  return Number(value)
}
