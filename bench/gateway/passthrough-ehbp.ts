// The cryptography of encrypted bodies (spec/ehbp-binding.md) as short as node:crypto lets it be, for the passthrough: one X25519, HPKE's key schedule without what is
// the same for every request, one AES-256-GCM for each frame, and for the key of a receipt. It remembers no request, bounds nothing and compares nothing: the line that
// binds a body is cut off unread. The bench's requester, which uses the library, opens what this seals.
import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hash,
  type KeyObject,
  randomBytes,
} from 'node:crypto'

const block = 64
const lineFeed = 10
const tagBytes = 16
const inner = Buffer.alloc(block + 256)
const outer = Buffer.alloc(block + 32)

/** HMAC-SHA256 out of two hashes at once, a third of what Node's object for it takes. */
function hmac(key: Uint8Array, ...message: readonly Uint8Array[]): Buffer {
  inner.fill(0x36, 0, block)
  outer.fill(0x5c, 0, block)
  for (let i = 0; i < key.length; i++) {
    inner[i] = 0x36 ^ (key[i] as number)
    outer[i] = 0x5c ^ (key[i] as number)
  }
  let length = block
  for (const part of message) {
    inner.set(part, length)
    length += part.length
  }
  outer.write(hash('sha256', inner.subarray(0, length), 'binary'), block, 'latin1')
  return Buffer.from(hash('sha256', outer, 'binary'), 'latin1')
}

const one = Buffer.of(1)
const suite = Buffer.from('HPKE\0\x20\0\x01\0\x02', 'latin1')
const kemSuite = Buffer.from('KEM\0\x20', 'latin1')
const none = Buffer.alloc(0)
const labeled = (id: Buffer, label: string): Buffer => Buffer.concat([Buffer.from('HPKE-v1'), id, Buffer.from(label)])
const ofLength = (length: number, id: Buffer, label: string): Buffer => Buffer.concat([Buffer.of(0, length), labeled(id, label)])
const context = Buffer.concat([
  Buffer.of(0),
  hmac(none, labeled(suite, 'psk_id_hash')),
  hmac(none, labeled(suite, 'info_hash'), Buffer.from('ehbp request')),
])
const eaePrk = labeled(kemSuite, 'eae_prk')
const sharedSecret = ofLength(32, kemSuite, 'shared_secret')
const secretOf = labeled(suite, 'secret')
const keyLabel = Buffer.concat([ofLength(32, suite, 'key'), context, one])
const nonceLabel = Buffer.concat([ofLength(12, suite, 'base_nonce'), context, one])
const exportLabel = Buffer.concat([ofLength(32, suite, 'exp'), context, one])
const responseLabel = Buffer.concat([ofLength(32, suite, 'sec'), Buffer.from('ehbp response'), one])
const [responseKey, responseNonce, receiptKey, receiptNonce] = ['key', 'nonce', 'veritee receipt key', 'veritee receipt key nonce'].map((label) =>
  Buffer.from(`${label}\x01`),
) as [Buffer, Buffer, Buffer, Buffer]

function seal(key: KeyObject, nonce: Uint8Array, plain: Uint8Array): readonly [Buffer, Buffer] {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const body = cipher.update(plain)
  cipher.final()
  return [body, cipher.getAuthTag()]
}

/** What is written to one answer. */
export interface Answer {
  /** Hex, for the header. */
  readonly nonce: string
  /** The value of the header for a receipt's key of 32 bytes in hex. */
  receiptKey(key: string): string
  frame(plain: Uint8Array): Buffer
}

export interface Recipient {
  /** Hex. */
  readonly publicKey: string
  /** The body in clear, and what encrypts the answer. Throws where a frame does not open. */
  open(enc: string, body: Buffer): { readonly plain: Buffer; readonly answer: Answer }
}

export function recipient(): Recipient {
  const pair = generateKeyPairSync('x25519')
  const publicKey = pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(12)
  return { publicKey: publicKey.toString('hex'), open: (enc, body) => open(pair.privateKey, publicKey, Buffer.from(enc, 'hex'), body) }
}

function open(privateKey: KeyObject, publicKey: Buffer, enc: Buffer, body: Buffer): ReturnType<Recipient['open']> {
  // As PEM, which Node takes in a third of the time that it takes for DER.
  const peer = createPublicKey(`-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEA${enc.toString('base64')}\n-----END PUBLIC KEY-----\n`)
  const shared = hmac(hmac(none, eaePrk, diffieHellman({ privateKey, publicKey: peer })), sharedSecret, enc, publicKey, one)
  const secret = hmac(shared, secretOf)
  const key = createSecretKey(hmac(secret, keyLabel))
  const nonce = hmac(secret, nonceLabel).subarray(0, 12)
  const parts: Buffer[] = []
  for (let at = 0, frame = 0; at < body.length; frame++) {
    const end = at + 4 + body.readUInt32BE(at)
    const decipher = createDecipheriv('aes-256-gcm', key, numbered(nonce, frame))
    decipher.setAuthTag(body.subarray(end - tagBytes, end))
    parts.push(decipher.update(body.subarray(at + 4, end - tagBytes)))
    decipher.final()
    at = end
  }
  const plain = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  return { plain: plain.subarray(plain.indexOf(lineFeed) + 1), answer: answerTo(enc, hmac(hmac(secret, exportLabel), responseLabel)) }
}

function answerTo(enc: Buffer, exported: Buffer): Answer {
  const drawn = randomBytes(32)
  const prk = hmac(Buffer.concat([enc, drawn]), exported)
  const key = createSecretKey(hmac(prk, responseKey))
  const nonce = hmac(prk, responseNonce).subarray(0, 12)
  let index = 0
  return {
    nonce: drawn.toString('hex'),
    receiptKey: (hex) => {
      const [body, tag] = seal(createSecretKey(hmac(prk, receiptKey)), hmac(prk, receiptNonce).subarray(0, 12), Buffer.from(hex, 'hex'))
      return body.toString('hex') + tag.toString('hex')
    },
    frame: (plain) => {
      const [body, tag] = seal(key, numbered(nonce, index++), plain)
      const length = Buffer.allocUnsafe(4)
      length.writeUInt32BE(body.length + tagBytes)
      return Buffer.concat([length, body, tag])
    },
  }
}

function numbered(base: Buffer, frame: number): Buffer {
  const nonce = Buffer.from(base)
  nonce.writeUInt32BE((base.readUInt32BE(8) ^ frame) >>> 0, 8)
  return nonce
}
