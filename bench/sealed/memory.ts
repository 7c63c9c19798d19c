// Seals and opens one file in a process of its own, and prints the most memory it has held, in MB.
import { randomBytes } from 'node:crypto'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { openSealedModel } from '../../packages/services/src/enclave/sealed/open.ts'
import { sealModel } from '../../packages/services/src/models/sealing/seal.ts'

const [plain, out, form] = process.argv.slice(2)
if (plain === undefined || out === undefined || (form !== 'directory' && form !== 'file'))
  throw new TypeError('expected a file, what to make, and its form')
const publisher = await generateEd25519()
const modelKey = new Uint8Array(randomBytes(32))
await sealModel({
  files: [plain],
  out,
  form,
  name: 'bench',
  modelVersion: 1,
  keyId: 'models/bench/1',
  modelKey,
  publisher,
  chatTemplateDigest: null,
  licence: null,
  created: 0,
})
const { files } = await openSealedModel(out, modelKey, { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 })
for (const file of files) for await (const _ of file.read());
process.stdout.write(String(process.resourceUsage().maxRSS / 1000))
