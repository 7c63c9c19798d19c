// Checks the JSON of `npm start -s -- --once --json` from outside: node tools/check-demo.mjs demo.json model.gguf
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [jsonPath, modelPath] = process.argv.slice(2)
const demo = JSON.parse(readFileSync(jsonPath, 'utf8'))
const weights = createHash('sha256').update(readFileSync(modelPath)).digest('hex')
const events = (receipt, type) => receipt.event_log.filter((event) => event.type === type)

const claims = {
  'it says simulated': demo.ok === true && demo.simulated === true && /SIMULATED/.test(demo.notice),
  'model name and weights are those of the file': demo.model.name === 'veritee-demo' && demo.model.sha256 === weights,
  'the report was accepted under a policy':
    demo.report.verdict.verdict === 'accepted' && demo.report.verdict.scope === 'policy' && demo.report.document.api_version === 'aci/1',
  'the session is the one the receipt cites': events(demo.receipts.controller, 'upstream.verified')[0].session_id === demo.session.id,
  'the worker receipt names the weights': events(demo.receipts.worker, 'veritee.model')[0].files[0].sha256 === `sha256:${weights}`,
  'both receipts are over the response': [demo.receipts.controller, demo.receipts.worker].every(
    (receipt) => events(receipt, 'response.returned')[0].body_hash === `sha256:${createHash('sha256').update(demo.exchange.response).digest('hex')}`,
  ),
  'the exchange was verified': demo.exchange.outcome === 'verified' && demo.exchange.answer.length > 0,
  'the validator scored the worker':
    demo.validator.scores.length === 1 && demo.validator.scores[0].score > 0 && demo.validator.scores[0].worker === demo.worker.keysetDigest,
  'it lists its ports': ['api', 'control', 'broker'].every((name) => Number.isInteger(demo.ports[name])) && demo.ports.workers.length === 1,
  'it was ready in time': demo.readyMs < 10_000,
}
for (const [claim, holds] of Object.entries(claims)) if (!holds) console.error(`demo JSON: not so: ${claim}`)
process.exit(Object.values(claims).every(Boolean) ? 0 : 1)
