// Verify the service with a fresh nonce, ask it, verify the answer: receipt, session, worker evidence, weights.
import { readFile } from 'node:fs/promises'
import { intelSgxRootCa, parsePem, parsePolicy } from 'veritee'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'

const url = process.env.VERITEE_URL ?? 'http://127.0.0.1:8000'
const directory = process.env.VERITEE_DEMO ?? '.veritee/demo-8000'

const policy = parsePolicy(await readFile(`${directory}/policy.json`, 'utf8'))
// The demo's simulated root; without it nothing simulated verifies at all.
const simulated = parsePem(await readFile(`${directory}/root.pem`, 'utf8'))
const trust = { roots: [intelSgxRootCa, ...simulated] } as const

const transport = nodeTransport(url)
const service = await connect(transport, { policy, trust, role: 'controller', now: () => new Date() })
for (const check of service.verdict.checks.filter(({ status }) => status === 'waived')) console.log(`waived: ${check.id} (${check.detail})`)

const answer = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Why should I trust you?', { temperature: 0 }))
console.log(new TextDecoder().decode(answer.responseBody))
const { proof } = answer
console.log(
  `${proof.simulated ? 'SIMULATED ' : ''}${proof.outcome}: ${proof.model.name} ${proof.model.files[0]?.sha256}, receipt ${proof.receipt.receiptId}`,
)
transport.close()
