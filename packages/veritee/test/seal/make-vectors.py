# Makes spec/vectors/sealed-model.json from spec/sealed-model.md alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/seal/make-vectors.py > spec/vectors/sealed-model.json
import hashlib
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MODEL_KEY = bytes(range(32))
PUBLISHER = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
SALT = b"\x09" * 32
CHUNK = 4096
LENGTHS = [10000, 8192, 0]


def jcs(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def derive(info, length):
    return HKDF(hashes.SHA256(), length, SALT, info).derive(MODEL_KEY)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def signed(manifest, changes=None):
    signature = PUBLISHER.sign(b"veritee.sealed-model.v1\n" + jcs(manifest)).hex()
    return jcs({**manifest, **(changes or {}), "signature": signature}).decode()


plain = [bytes(i % 251 for i in range(length)) for length in LENGTHS]
files = [
    {"name": f"model-{n + 1:05}-of-{len(plain):05}.gguf", "sha256": digest(data), "size": len(data)} for n, data in enumerate(plain)
]
manifest = {
    "chat_template_digest": None,
    "chunk_size": CHUNK,
    "cipher": "aes-256-gcm-stream",
    "created": 1790000000,
    "files": files,
    "key_check": derive(b"veritee.sealed-model.v1 key check", 16).hex(),
    "key_id": "models/example/4",
    "licence": "Apache-2.0",
    "model_version": 4,
    "name": "example",
    "publisher": PUBLISHER.public_key().public_bytes_raw().hex(),
    "salt": SALT.hex(),
    "version": "veritee.sealed-model.v1",
}
keys, prefixes, sealed = [], [], []
for index, (file, data) in enumerate(zip(files, plain)):
    info = {
        "chunk_size": CHUNK,
        "cipher": manifest["cipher"],
        "file": file["name"],
        "index": index,
        "model": manifest["name"],
        "model_version": manifest["model_version"],
        "purpose": "file",
        "sha256": file["sha256"],
        "size": file["size"],
        "version": manifest["version"],
    }
    derived = derive(jcs(info), 39)
    key, prefix = derived[:32], derived[32:]
    starts = list(range(0, max(1, len(data)), CHUNK))
    chunks = [
        AESGCM(key).encrypt(prefix + n.to_bytes(4, "big") + (b"\x01" if at == starts[-1] else b"\x00"), data[at : at + CHUNK], None)
        for n, at in enumerate(starts)
    ]
    keys.append(key.hex())
    prefixes.append(prefix.hex())
    sealed.append(b"".join(chunks))

other = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
unsigned = {**manifest, "publisher": other.public_key().public_bytes_raw().hex()}
with_prefix = {**manifest, "files": [{**file, "nonce_prefix": "01" * 7} for file in files]}
refused = [
    {"why": "version changed after signing", "manifest": signed(manifest, {"model_version": 5}), "code": "sealed_manifest_signature_invalid"},
    {"why": "salt changed after signing", "manifest": signed(manifest, {"salt": "0a" * 32}), "code": "sealed_manifest_signature_invalid"},
    {"why": "files in another order", "manifest": signed(manifest, {"files": files[::-1]}), "code": "sealed_manifest_signature_invalid"},
    {
        "why": "another publisher",
        "manifest": jcs({**unsigned, "signature": other.sign(b"veritee.sealed-model.v1\n" + jcs(unsigned)).hex()}).decode(),
        "code": "sealed_publisher_unknown",
    },
    {
        "why": "signed without the prefix of this format",
        "manifest": jcs({**manifest, "signature": PUBLISHER.sign(jcs(manifest)).hex()}).decode(),
        "code": "sealed_manifest_signature_invalid",
    },
    {"why": "an unknown member of a file, signed", "manifest": signed(with_prefix), "code": "sealed_manifest_malformed"},
    {"why": "a path as a name, signed", "manifest": signed({**manifest, "files": [{**files[0], "name": "../m.gguf"}]}), "code": "sealed_manifest_malformed"},
    {
        "why": "names that differ in case only",
        "manifest": signed({**manifest, "files": [{**files[0], "name": "a.gguf"}, {**files[1], "name": "A.gguf"}]}),
        "code": "sealed_manifest_malformed",
    },
    {"why": "a version that is no version", "manifest": signed({**manifest, "model_version": 0}), "code": "sealed_manifest_malformed"},
    {"why": "another cipher", "manifest": signed({**manifest, "cipher": "aes-256-gcm"}), "code": "sealed_manifest_malformed"},
    {"why": "a member twice", "manifest": signed(manifest).replace("{", '{"salt":"00",', 1), "code": "sealed_manifest_malformed"},
]


def container(text, magic=b"veritee.sealed-model.v1\n", length=None):
    manifest = text.encode()
    whole, starts = magic + (len(manifest) if length is None else length).to_bytes(8, "big") + manifest, []
    for part in sealed:
        whole += bytes(-len(whole) % 4096)
        starts.append(len(whole))
        whole += part
    return whole, starts


text = signed(manifest)
whole, starts = container(text)
# Of each only the beginning is given, up to a few bytes of manifest: no more is read before it is refused.
heads = [
    {"why": "another magic", "head": container(text, b"veritee.sealed-model.v2\n")[0][:40].hex(), "code": "sealed_container_malformed"},
    {"why": "the end within the prefix", "head": whole[:31].hex(), "code": "sealed_container_malformed"},
    {"why": "nothing", "head": "", "code": "sealed_container_malformed"},
    {"why": "a manifest beyond its bound", "head": container(text, length=2**21 + 1)[0][:40].hex(), "code": "sealed_container_malformed"},
    {"why": "a length beyond 2^53", "head": container(text, length=2**64 - 1)[0][:40].hex(), "code": "sealed_container_malformed"},
]
print(
    json.dumps(
        {
            "model_key": MODEL_KEY.hex(),
            "publisher_seed": "07" * 32,
            "plain": [str(length) for length in LENGTHS],
            "manifest": text,
            "file_keys": keys,
            "nonce_prefixes": prefixes,
            "sealed_sha256": [hashlib.sha256(part).hexdigest() for part in sealed],
            "container": {
                "starts": [str(start) for start in starts],
                "size": str(len(whole)),
                "sha256": hashlib.sha256(whole).hexdigest(),
                "refused_heads": heads,
            },
            "refused": refused,
        },
        indent=2,
    )
)
