# Makes spec/vectors/release-statement.json from spec/release-statement.md alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/release/make-vectors.py > spec/vectors/release-statement.json
import copy
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNERS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (21, 22, 23)]
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x18" * 32)
AT = 1790000100


def jcs(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def public(key):
    return key.public_key().public_bytes_raw().hex()


def digest(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def enclave(role, variant, mrenclave, product):
    return {
        "role": role,
        "cpu_variant": variant,
        "gramine": "1.9",
        "edmm": False,
        "inputs": digest(role + " inputs"),
        "manifest": digest(role + " manifest"),
        "bundle": digest("bundle"),
        "mrenclave": mrenclave,
        "isv_prod_id": product,
        "isv_svn": 3,
    }


DOCUMENT = {
    "version": "veritee.release-statement.v1",
    "product": "example",
    "sequence": 12,
    "issued": 1790000000,
    "release": "1.2.0",
    "commit": "ab" * 20,
    "enclaves": [
        enclave("controller", None, "c0" * 32, 1),
        enclave("worker", "haswell", "e0" * 32, 2),
        enclave("worker", "sapphirerapids", "e1" * 32, 2),
        enclave("broker", None, None, 3),
    ],
    "svn_floor": {"worker": 2},
    "withdrawn": ["1.1.0"],
}


def signed(document, keys):
    message = b"veritee.release-statement.v1\n" + jcs(document)
    signatures = [{"key": public(key), "signature": key.sign(message).hex()} for key in keys]
    return {**document, "signatures": sorted(signatures, key=lambda one: one["key"])}


def text(document):
    return jcs(document).decode()


def changed(**members):
    return {**copy.deepcopy(DOCUMENT), **members}


KEY_SET = {
    "keys": sorted(public(key) for key in SIGNERS),
    "product": "example",
    "purpose": "veritee.release-sequence.v1",
    "threshold": 2,
}
two = SIGNERS[:2]
good = signed(DOCUMENT, two)
tampered = {**good, "withdrawn": []}
refused = [
    ("a member changed after signing", tampered, "release_signature_invalid"),
    ("one signature of two", signed(DOCUMENT, two[:1]), "release_signatures_missing"),
    ("one of a trusted key and one of a stranger", signed(DOCUMENT, [two[0], STRANGER]), "release_signatures_missing"),
    ("another product", signed(changed(product="other"), two), "release_product"),
    ("an older statement", signed(changed(sequence=9), two), "release_rolled_back"),
    ("an old statement", signed(changed(issued=AT - 604801), two), "release_expired"),
    ("a statement of the future", signed(changed(issued=AT + 301), two), "release_expired"),
    ("its own release withdrawn", signed(changed(withdrawn=["1.2.0"]), two), "release_withdrawn"),
    ("no enclave", signed(changed(enclaves=[]), two), "release_statement_malformed"),
    ("one measurement under two roles", signed(changed(enclaves=[enclave("worker", "x64", "e0" * 32, 2), enclave("broker", None, "e0" * 32, 3)]), two), "release_statement_malformed"),
    ("an unknown member", signed(changed(note="trust me"), two), "release_statement_malformed"),
    ("a short commit", signed(changed(commit="abc"), two), "release_statement_malformed"),
]
json.dump(
    {
        "trust": {"product": "example", "keys": [public(key) for key in SIGNERS], "threshold": 2, "maxReleaseAge": 604800, "minimumSequence": 10},
        "at": AT,
        "statement": text(good),
        "digest": "sha256:" + hashlib.sha256(jcs(DOCUMENT)).hexdigest(),
        "signers": sorted(public(key) for key in two),
        "key_set": "sha256:" + hashlib.sha256(jcs(KEY_SET)).hexdigest(),
        "refused": [{"why": why, "statement": text(document), "code": code} for why, document, code in refused],
    },
    __import__("sys").stdout,
    indent=2,
)
print()
