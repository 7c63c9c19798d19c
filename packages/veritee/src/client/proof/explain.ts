import type { Proof, ProvenEnclave } from './proof.ts'

/**
 * A proof in plain English, a line each: what it establishes, what it does not, what was waived, and what to do where there is none. For people; the text may
 * change between versions. Control characters of names that a service chose are left out.
 */
export function explain(proof: Proof): string {
  return [headline(proof), ...who(proof), ...what(proof), ...limits(proof), ...failure(proof)].map(oneLine).join('\n')
}

function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
}

function headline({ status, simulated, bytes }: Proof): string {
  const prefix = simulated ? 'SIMULATED: ' : ''
  switch (status) {
    case 'verified':
      return `${prefix}Verified. This is exactly the answer that was signed, to exactly the request that was sent.`
    case 'verified-prefix':
      return `${prefix}Verified as far as it goes. What was received is the beginning of an answer that was signed${bytes.events === null ? '' : ` (${bytes.events} events)`}; the rest is not here.`
    case 'rejected':
      return `${prefix}REJECTED. Do not use this answer.`
    case 'unproven':
      return `${prefix}NOT PROVEN. Do not rely on this answer.`
  }
}

function who({ service, worker }: Proof): string[] {
  const lines = [`Asked: ${place(service)}`]
  if (worker !== null) lines.push(`Answered by: ${place(worker)}`)
  return lines
}

function place(enclave: ProvenEnclave): string {
  const { measurement: m, tcb } = enclave
  const code = 'mrenclave' in m ? `MRENCLAVE ${m.mrenclave}` : `MRTD ${m.mrtd}`
  const advisories = tcb.advisories.length === 0 ? '' : ` (${tcb.advisories.join(', ')})`
  const operator = enclave.operatorKey === null ? 'an operator that is not named' : `operator ${enclave.operatorKey}`
  return (
    `a ${enclave.role}${enclave.origin === null ? '' : ` at ${enclave.origin}`}, code ${code}, in ${enclave.simulated ? 'a SIMULATED enclave' : enclave.tee === 'sgx' ? 'an Intel SGX enclave' : 'an Intel TDX domain'}, ` +
    `platform ${tcb.status}${advisories}, of ${operator}`
  )
}

const channels: { readonly [C in ProvenEnclave['channel']]: string } = {
  attested: 'TLS ended in a key that the enclave’s quote binds.',
  loopback: 'The connection was plain HTTP on this machine: whatever runs on it could read along.',
  sealed: 'Bodies were encrypted to a key that the enclave’s quote binds. Path, headers (an API key among them), times and lengths were not.',
  relayed: '',
}

function what({ model, bytes, outcome, service }: Proof): string[] {
  const lines: string[] = []
  if (model !== null) {
    const files = model.files.map(({ name, sha256 }) => `${name} ${sha256}`).join(', ')
    const source = {
      hashed_while_loading: 'hashed by the enclave while it loaded them',
      measured_mount: 'on a measured disk',
      provider_asserted: 'ONLY ASSERTED by whoever runs the engine',
    }
    lines.push(
      `Model: ${model.name}, weights ${files === '' ? 'not known' : files}, ${source[model.provenance]}${model.sealed ? ', sealed by their owner' : ''}`,
    )
  }
  lines.push(`Bytes: request ${bytes.request}, answer ${bytes.response} (${bytes.responseLength} bytes${bytes.complete ? '' : ', not to its end'})`)
  if (bytes.encryptedTo !== null) lines.push(`Encrypted to the ${bytes.encryptedTo}.`)
  if (channels[service.channel] !== '') lines.push(channels[service.channel])
  if (outcome !== null && outcome !== 'complete') lines.push(`The worker says how its answer ended: ${outcome}.`)
  return lines
}

function limits({ simulated, waived, warnings, status }: Proof): string[] {
  const lines = warnings.map((warning) => `Warning: ${warning}`)
  if (waived.length > 0) lines.push(`Not demanded by your policy, or not possible: ${waived.map(({ of, id }) => `${of} ${id}`).join(', ')}`)
  if (simulated) lines.push('SIMULATED: no hardware protects this exchange; it shows the flow only.')
  if (status === 'verified' || status === 'verified-prefix')
    lines.push('This says who computed the answer, from which weights and bytes. It does not say that the answer is true.')
  return lines
}

function failure({ error }: Proof): string[] {
  if (error === null) return []
  const lines = [`Why: ${error.message} (${error.code})`]
  if (error.expected !== null) lines.push(`Expected: ${error.expected}`)
  if (error.found !== null) lines.push(`Found: ${error.found}`)
  return [...lines, `Next: ${error.next}`]
}
