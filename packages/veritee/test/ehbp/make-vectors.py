# Makes spec/vectors/ehbp.json from spec/ehbp-binding.md alone, with none of the code under test: python3 make-vectors.py
import hashlib, hmac, json
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

def private(name):
    return X25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())

def raw_private(name):
    return hashlib.sha256(name.encode()).hexdigest()

def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()

def extract(salt, ikm):
    return hmac256(salt if salt else bytes(32), ikm)

def expand(prk, info, length):
    return hmac256(prk, info + b'\x01')[:length]

KEM = b'KEM' + bytes([0, 0x20])
SUITE = b'HPKE' + bytes([0, 0x20, 0, 1, 0, 2])

def lextract(suite, salt, label, ikm):
    return extract(salt, b'HPKE-v1' + suite + label + ikm)

def lexpand(suite, prk, label, info, length):
    return expand(prk, length.to_bytes(2, 'big') + b'HPKE-v1' + suite + label + info, length)

def schedule(dh, enc, recipient):
    eae = lextract(KEM, b'', b'eae_prk', dh)
    shared = lexpand(KEM, eae, b'shared_secret', enc + recipient, 32)
    context = b'\x00' + lextract(SUITE, b'', b'psk_id_hash', b'') + lextract(SUITE, b'', b'info_hash', b'ehbp request')
    secret = lextract(SUITE, shared, b'secret', b'')
    return (lexpand(SUITE, secret, b'key', context, 32), lexpand(SUITE, secret, b'base_nonce', context, 12), lexpand(SUITE, secret, b'exp', context, 32))

def frame(key, base, index, plain):
    nonce = base[:4] + (int.from_bytes(base[4:], 'big') ^ index).to_bytes(8, 'big')
    sealed = AESGCM(key).encrypt(nonce, plain, None)
    return len(sealed).to_bytes(4, 'big') + sealed

recipient, ephemeral = private('veritee ehbp recipient'), private('veritee ehbp ephemeral')
public = lambda k: k.public_key().public_bytes_raw()
enc = public(ephemeral)
key, base, exporter = schedule(ephemeral.exchange(recipient.public_key()), enc, public(recipient))
nonce = hashlib.sha256(b'veritee ehbp client nonce').hexdigest()
session = hashlib.sha256(b'veritee ehbp session').hexdigest()
binding = {'client_nonce': nonce, 'method': 'POST', 'model': 'demo-modèle', 'path': '/v1/chat/completions', 'session_id': session, 'v': 1}
line = json.dumps(binding, sort_keys=True, separators=(',', ':'), ensure_ascii=False).encode() + b'\n'
body = '{"model":"demo-modèle","messages":[{"role":"user","content":"Hello"}]}'.encode()
plain = line + body
one = frame(key, base, 0, plain)
cut = [plain[:100], plain[100:101], plain[101:]]
three = b''.join([frame(key, base, 0, cut[0]), bytes(4), frame(key, base, 1, cut[1]), frame(key, base, 2, cut[2])])

response_nonce = hashlib.sha256(b'veritee ehbp response nonce').digest()
secret = lexpand(SUITE, exporter, b'sec', b'ehbp response', 32)
prk = extract(enc + response_nonce, secret)
rkey, rbase = expand(prk, b'key', 32), expand(prk, b'nonce', 12)
credential = expand(prk, b'veritee receipt credential', 32)
receipt_key = hashlib.sha256(b'veritee ehbp receipt key').digest()
sealed_receipt_key = AESGCM(expand(prk, b'veritee receipt key', 32)).encrypt(expand(prk, b'veritee receipt key nonce', 12), receipt_key, None)

def padded(events, last=b''):
    text = b''.join(e.encode() for e in events)
    gap = -(len(text) + len(last)) % 256
    if 0 < gap < 3: gap += 256
    return text + (b':' + b' ' * (gap - 3) + b'\n\n' if gap else b'') + last

pieces = [padded(['data: {"a":1}\n\n']), padded(['data: ' + 'x' * 245 + '\n\n']), padded(['data: {"b":2}\n\n', 'data: {"c":3}\n\n'], b'data: [DONE]\n\n')]
response = b''.join(frame(rkey, rbase, i, p) for i, p in enumerate(pieces))

tampered = bytearray(one); tampered[10] ^= 1
swapped = frame(key, base, 1, cut[0]) + frame(key, base, 0, cut[1])
def changed(**members):
    return json.dumps({**binding, **members}, sort_keys=True, separators=(',', ':'), ensure_ascii=False)
lines = [
    ['no line feed', json.dumps(binding), 'ehbp_malformed'],
    ['white space', json.dumps(binding, sort_keys=True) + '\n{}', 'ehbp_malformed'],
    ['members in another order', json.dumps(dict(reversed(binding.items())), separators=(',', ':')) + '\n{}', 'ehbp_malformed'],
    ['a character escaped without need', changed(model='demo-modèle').replace('è', '\\u00e8') + '\n{}', 'ehbp_malformed'],
    ['another version', changed(v=2) + '\n{}', 'ehbp_malformed'],
    ['an additional member', changed(w=1) + '\n{}', 'ehbp_malformed'],
    ['a nonce in capitals', changed(client_nonce=nonce.upper()) + '\n{}', 'ehbp_malformed'],
    ['no nonce', changed(client_nonce=None) + '\n{}', 'ehbp_malformed'],
    ['a short session id', changed(session_id=session[:62]) + '\n{}', 'ehbp_malformed'],
    ['a body without a line', body.decode(), 'ehbp_malformed'],
]
print(json.dumps({
    'recipient_private_key': raw_private('veritee ehbp recipient'),
    'recipient_public_key': public(recipient).hex(),
    'ephemeral_private_key': raw_private('veritee ehbp ephemeral'),
    'enc': enc.hex(),
    'request_key': key.hex(),
    'request_base_nonce': base.hex(),
    'exporter_secret': exporter.hex(),
    'binding': binding,
    'binding_line': line.decode(),
    'body': body.decode(),
    'request_wire': one.hex(),
    'request_wire_in_three_frames': three.hex(),
    'response_nonce': response_nonce.hex(),
    'response_key': rkey.hex(),
    'response_base_nonce': rbase.hex(),
    'receipt_credential': credential.hex(),
    'receipt_key': receipt_key.hex(),
    'sealed_receipt_key': sealed_receipt_key.hex(),
    'response_plain': [p.decode() for p in pieces],
    'response_wire': response.hex(),
    'refused_frames': [
        {'why': 'a bit changed', 'wire': bytes(tampered).hex(), 'code': 'ehbp_not_authentic'},
        {'why': 'cut within a frame', 'wire': one[:-1].hex(), 'code': 'ehbp_malformed'},
        {'why': 'cut within a length', 'wire': (one + b'\0\0').hex(), 'code': 'ehbp_malformed'},
        {'why': 'shorter than a tag', 'wire': '0000000f' + '00' * 15, 'code': 'ehbp_malformed'},
        {'why': 'two frames in another order', 'wire': swapped.hex(), 'code': 'ehbp_not_authentic'},
        {'why': 'the same frame twice', 'wire': (one + one).hex(), 'code': 'ehbp_not_authentic'},
    ],
    'refused_lines': [{'why': why, 'plain': text, 'code': code} for why, text, code in lines],
}, indent=2, ensure_ascii=False))
