import { type DemoResult, streamText } from './demo.ts'
import type { DemoOptions } from './options.ts'
import { epochJson } from './present-epoch.ts'
import type { Release } from './provide.ts'

export const simulatedNotice: readonly string[] = [
  'SIMULATED: no SGX hardware is involved. The enclaves are simulated, their quotes are real in format but end in a root made at start,',
  'so they prove nothing about this machine: whoever runs it can read everything. Model, bytes, keys, receipts and checks are real.',
]

/** The demo's result as one JSON document. */
export function demoJson(result: DemoResult, options: DemoOptions): object {
  const { service, answer, admission, model, release, controller, worker } = result
  const { proof } = answer
  return {
    ok: true,
    simulated: proof.simulated,
    notice: simulatedNotice.join(' '),
    ports: options.ports,
    urls: {
      api: controller.api.url,
      control: controller.control.url,
      workers: [worker.server.url],
      broker: typeof release === 'string' ? null : release.broker.kbs.url,
    },
    model: {
      name: model.served.name,
      file: model.served.described.files[0]?.name,
      sha256: proof.model.files[0]?.sha256.slice(7),
      size: model.engine.model.size,
      sealed: model.engine.model.sealed,
      notSealed: typeof release === 'string' ? release : null,
    },
    broker: typeof release === 'string' ? null : brokerJson(release),
    engine: { ...model.engine.facts },
    admission: { manifest: JSON.parse(admission.text) as object, anchors: admission.anchors },
    report: {
      role: service.report.descriptor.role,
      keysetDigest: service.report.keysetDigest,
      nonce: service.nonce,
      verdict: service.verdict,
      document: JSON.parse(service.reportText) as object,
    },
    session: { id: proof.session?.id, document: answer.records.session === null ? null : (JSON.parse(answer.records.session) as object) },
    receipts: { controller: proof.receipt.document, worker: proof.worker?.receipt.document ?? null },
    worker: { keysetDigest: proof.worker?.report.keysetDigest ?? null, verdict: proof.worker?.verdict ?? null },
    exchange: {
      outcome: proof.outcome,
      request: new TextDecoder().decode(answer.requestBody),
      response: new TextDecoder().decode(answer.responseBody),
      answer: streamText(answer.responseBody),
      checks: proof.checks,
    },
    ...epochJson(result, options),
    steps: result.steps,
  }
}

/** The way of the model key: manifest, who verified the broker, the terms of release, the two decisions, and the trail. No secret is in it. */
function brokerJson({ manifest, upload, released, refused, trail }: Release): object {
  const { report, nonce, verdict, reportText } = upload.admin.service
  return {
    manifest,
    role: report.descriptor.role,
    keysetDigest: report.keysetDigest,
    nonce,
    verdict,
    document: JSON.parse(reportText) as object,
    resource: upload.resource,
    policy: upload.policyText,
    released,
    refused,
    trail,
  }
}

/** How to go on, printed once everything is up. */
export function howToTalk(result: DemoResult): string[] {
  const { controller, model, directory } = result
  const { url } = controller.api
  const name = model.served.name
  return [
    '',
    `The system stays up on ${url} (Ctrl-C stops it). Talk to it:`,
    '',
    `  curl ${url}/v1/chat/completions -H 'content-type: application/json' \\`,
    `    -d '{"model":"${name}","messages":[{"role":"user","content":"Who are you?"}]}'`,
    '',
    `  new OpenAI({ baseURL: '${url}/v1', apiKey: 'unused' })        // openai on npm, unmodified, unverified`,
    '',
    `  npx veritee chat --url ${url} --policy ${directory}/policy.json --root ${directory}/root.pem "Who are you?"`,
    `  npx veritee receipt verify ${directory}/receipt.json --report ${directory}/report.json \\`,
    `    --policy ${directory}/policy.json --root ${directory}/root.pem --nonce ${result.service.nonce}`,
    `  npx veritee epoch verify ${result.epoch.directory} \\`,
    `    --trust ${directory}/trust.json --policy ${directory}/policy.json --root ${directory}/root.pem`,
    '',
    ...simulatedNotice,
  ]
}
