// Checks the JSON of `npm start -s -- --once --json` from outside, with nothing of the project's own: node tools/check-demo.mjs demo.json model.gguf [seconds until it had to be ready]
import { createHash, createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [jsonPath, modelPath, seconds = '10'] = process.argv.slice(2)
const demo = JSON.parse(readFileSync(jsonPath, 'utf8'))
const weights = createHash('sha256').update(readFileSync(modelPath)).digest('hex')
const events = (receipt, type) => receipt.event_log.filter((event) => event.type === type)
const sha256 = (text) => createHash('sha256').update(text).digest('hex')
/** JCS for documents of objects, arrays, ASCII strings, whole numbers, true, false and null, which these are. */
const jcs = (value) =>
  Array.isArray(value)
    ? `[${value.map(jcs).join()}]`
    : typeof value === 'object' && value !== null
      ? `{${Object.keys(value)
          .sort()
          .map((name) => `${JSON.stringify(name)}:${jcs(value[name])}`)
          .join()}}`
      : JSON.stringify(value)

/** MRENCLAVE and report data of an SGX quote: bytes 112 to 143 and 368 to 431. */
const quoteOf = ({ attestation }) => {
  const bytes = Buffer.from(attestation.evidence.quote_b64, 'base64')
  return { mrenclave: bytes.subarray(112, 144).toString('hex'), reportData: bytes.subarray(368, 432).toString('hex') }
}
/** That the quote of a report binds its keyset and this nonce, and the keyset its descriptor. */
const binds = ({ attestation }, nonce) => {
  const digest = `sha256:${sha256(jcs(attestation.workload_keyset))}`
  const statement = jcs({ keyset_digest: digest, nonce, purpose: 'aci.report_data.v1' })
  const subject = `urn:veritee:service:sha256:${sha256(jcs(attestation.evidence.descriptor))}`
  return quoteOf({ attestation }).reportData === sha256(statement) + '00'.repeat(32) && attestation.workload_keyset.subject === subject
}
const isSignedManifest = ({ signature, ...manifest }) => {
  const key = createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(manifest.publisher, 'hex')]),
    format: 'der',
    type: 'spki',
  })
  return verify(null, Buffer.from(`veritee.sealed-model.v1\n${jcs(manifest)}`), key, Buffer.from(signature, 'hex'))
}

const isSigned = (text, key, signature) =>
  verify(
    null,
    Buffer.from(text),
    createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key, 'hex')]), format: 'der', type: 'spki' }),
    Buffer.from(signature, 'hex'),
  )
const honest = demo.epoch.workers.filter(({ cheats }) => !cheats)
const cheats = demo.epoch.workers.filter((worker) => worker.cheats)
const probesOf = (operator) => demo.validator.records.filter(({ kind, worker }) => kind === 'probe' && worker?.operator === operator)
// Of an answer that was withheld, the receipt may not be had, or not be known to be in the log.
const leaves = demo.validator.records.flatMap(({ view }) => view?.log?.index ?? [])
const organic = demo.validator.records.filter(({ kind }) => kind === 'organic')
const scoreOf = (operator) => demo.epoch.scores.validators[0].operators.find((one) => one.operator === operator)?.score ?? '0.000000000'
/** Of a probe the proof holds the receipt, of what others asked the audit view, which names weights by the digest of their list of files. */
const otherWeights = (said, { name, files }) => {
  const { event_log: log, model } = said
  if (log === undefined) return model.name === name && model.weights !== `sha256:${sha256(jcs(files))}`
  const [event] = events(said, 'veritee.model')
  return event.name === name && event.files[0].sha256 !== files[0].sha256
}
const convicts = ({ kind, accused, proof: { report, receipts, statements } }) => {
  const [{ signature, ...said }] = [...receipts, ...statements]
  const { descriptor, nonce, operator_signature } = report.attestation.evidence
  const key = report.attestation.workload_keyset.receipt_signing_keys.find(({ key_id }) => key_id === said.key_id).public_key
  return (
    kind === 'model_contradicted' &&
    receipts.length + statements.length === 1 &&
    binds(report, nonce) &&
    said.workload_keyset_digest === `sha256:${sha256(jcs(report.attestation.workload_keyset))}` &&
    said.workload_keyset_digest === cheats[0].keyset &&
    isSigned(receipts.length === 1 ? jcs(said) : `${said.version}\n${jcs(said)}`, key, signature) &&
    descriptor.operator_key === cheats[0].operator &&
    isSigned(`veritee.operator.v1\n${said.workload_keyset_digest}`, descriptor.operator_key, operator_signature) &&
    accused.operatorKey === descriptor.operator_key &&
    descriptor.models.some((model) => otherWeights(said, model)) &&
    descriptor.models.some(({ files }) => files[0].sha256 === `sha256:${weights}`)
  )
}

const { broker } = demo
const [, workerEvidence] = demo.session.document.evidence.data.split(',')
const worker = JSON.parse(Buffer.from(workerEvidence, 'base64').toString())
const terms = JSON.parse(broker.policy).roles.worker
const listed = terms.identity.map(({ mrenclave }) => mrenclave)
const failedChecks = ({ checks }) => checks.filter(({ status }) => status === 'fail').map(({ id }) => id)
const withoutChecks = ({ checks, ...line }) => jcs(line)
const inTrail = (line, trail) => trail.some(({ seq, ...entry }) => Number.isInteger(seq) && jcs(entry) === withoutChecks(line))

const claims = {
  'it says simulated': demo.ok === true && demo.simulated === true && /SIMULATED/.test(demo.notice),
  'model name and weights are those of the file': demo.model.name === 'veritee-demo' && demo.model.sha256 === weights,
  'the report was accepted under a policy':
    demo.report.verdict.verdict === 'accepted' && demo.report.verdict.scope === 'policy' && demo.report.document.api_version === 'aci/1',
  "the report's quote binds keys, nonce and descriptor": binds(demo.report.document, demo.report.nonce),
  'the publisher signed the manifest, over the hash of the plain file':
    isSignedManifest(broker.manifest) && broker.manifest.files.length === 1 && broker.manifest.files[0].sha256 === `sha256:${weights}`,
  'the owner accepted the broker, under a nonce of its own, before it gave the key away':
    broker.role === 'broker' && broker.verdict.verdict === 'accepted' && broker.verdict.scope === 'policy' && binds(broker.document, broker.nonce),
  'broker, controller, and both askers are four programs':
    new Set([quoteOf(broker.document).mrenclave, quoteOf(demo.report.document).mrenclave, broker.released.measurement, broker.refused.measurement])
      .size === 4,
  "the trail begins with the owner's key, under these terms":
    broker.trail.audit[0].event === 'put' &&
    broker.trail.audit[0].resource === broker.manifest.key_id &&
    broker.trail.audit[0].policy === `sha256:${sha256(broker.policy)}`,
  'the terms list one program and are for production mode': listed.length === 1 && terms.debug === 'refuse',
  'the key went to that program, once, and the trail says so':
    broker.released.event === 'release' &&
    broker.released.measurement === listed[0] &&
    broker.released.resource === broker.manifest.key_id &&
    broker.released.policy === `sha256:${sha256(broker.policy)}` &&
    broker.released.simulated === true &&
    failedChecks(broker.released).length === 0 &&
    broker.trail.audit.filter(({ event }) => event === 'release').length === 1 &&
    inTrail(broker.released, broker.trail.audit),
  'another program was refused for being another, and the trail says so':
    broker.refused.code === 'policy_identity' &&
    !listed.includes(broker.refused.measurement) &&
    failedChecks(broker.refused).join() === 'policy.identity' &&
    inTrail(broker.refused, broker.trail.refusals),
  'the program that got the key is the one in the quote of the worker that answered':
    binds(worker.report, worker.nonce) &&
    quoteOf(worker.report).mrenclave === broker.released.measurement &&
    worker.report.workload_keyset_digest === demo.worker.keysetDigest,
  'the session is the one the receipt cites': events(demo.receipts.controller, 'upstream.verified')[0].session_id === demo.session.id,
  'the worker receipt names the weights, and that they were sealed': events(demo.receipts.worker, 'veritee.model').every(
    ({ files, sealed }) => files.length === 1 && files[0].sha256 === `sha256:${weights}` && sealed === true,
  ),
  'both receipts are over the response': [demo.receipts.controller, demo.receipts.worker].every(
    (receipt) => events(receipt, 'response.returned')[0].body_hash === `sha256:${sha256(demo.exchange.response)}`,
  ),
  'the exchange was verified': demo.exchange.outcome === 'verified' && demo.exchange.answer.length > 0,
  'the validator committed to its seed, and the round that opened the epoch is the hash of a signature':
    demo.validator.commitment ===
      `sha256:${sha256(jcs({ epoch: 0, purpose: 'veritee.seed.v1', seed: demo.validator.seed, validator: demo.validator.key }))}` &&
    demo.validator.beacon.opened.randomness === sha256(Buffer.from(demo.validator.beacon.opened.signature, 'hex')),
  'the validator signed every record, in order':
    demo.validator.records.length > 0 &&
    demo.validator.records.every(
      ({ signature, ...record }, i) =>
        record.index === i && record.validator === demo.validator.key && isSigned(`veritee.audit.v1\n${jcs(record)}`, record.validator, signature),
    ),
  'workers that do not cheat passed and have a score; the first is the one that answered the client':
    honest.length === 2 &&
    honest[0].keyset === demo.worker.keysetDigest &&
    honest.every(({ operator }) => probesOf(operator).every(({ verdict, replay }) => verdict === 'pass' && replay.level === 1)) &&
    honest.some(({ operator }) => Number(scoreOf(operator)) > 0),
  'the one that cheats failed, has no score, and is the only one convicted':
    cheats.length === 1 &&
    probesOf(cheats[0].operator).some(({ verdict, charged }) => verdict === 'fail' && charged === 'worker') &&
    probesOf(cheats[0].operator).every(({ verdict }) => verdict !== 'pass') &&
    scoreOf(cheats[0].operator) === '0.000000000' &&
    demo.epoch.scores.convictions.map(({ operator }) => operator).join() === cheats[0].operator,
  'probes of honest workers are in the log, each leaf is audited once, and receipts of others were audited by their views: none of a probe, none of an honest worker with a fault':
    honest.every(({ operator }) => probesOf(operator).every(({ view }) => view.log.origin === demo.validator.log.origin)) &&
    new Set(leaves).size === leaves.length &&
    organic.some(({ worker, verdict }) => worker !== null && ['pass', 'fail'].includes(verdict)) &&
    organic.every(({ worker, verdict }) => verdict !== 'fail' || worker.operator === cheats[0].operator),
  'the fraud proof: signed by a key that a quote binds, over other weights than that keyset announces, by the operator that cheats and signed that keyset':
    demo.epoch.fraud.length > 0 && demo.epoch.fraud.every(convicts),
  'the bundle of the epoch was verified':
    demo.epoch.verified.verdict === 'verified' && demo.epoch.verified.checks.every(({ status }) => status !== 'fail'),
  'where the bundle was kept, it holds these records':
    demo.epoch.dir === null ||
    readFileSync(`${demo.epoch.dir}/validators/${demo.validator.key}/records.jsonl`, 'utf8') ===
      demo.validator.records.map((record) => `${jcs(record)}\n`).join(''),
  'it lists its ports': ['api', 'control', 'broker'].every((name) => Number.isInteger(demo.ports[name])) && demo.ports.workers.length === 1,
  'it was ready in time': demo.readyMs < 1000 * Number(seconds),
}
for (const [claim, holds] of Object.entries(claims)) if (!holds) console.error(`demo JSON: not so: ${claim}`)
process.exit(Object.values(claims).every(Boolean) ? 0 : 1)
