# Makes spec/vectors/confirmation-request.json from spec/confirmation.md alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/scoring/make-confirmation-vectors.py > spec/vectors/confirmation-request.json
import copy
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VALIDATOR = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x12" * 32)


def jcs(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(n):
    return "sha256:" + f"{n:02x}" * 32


def sign(request, key=VALIDATOR):
    message = b"veritee.confirmation-request.v1\n" + jcs(request)
    return jcs({**request, "signature": key.sign(message).hex()}).decode()


def changed(base, **changes):
    return {**copy.deepcopy(base), **changes}


REQUEST = {
    "version": "veritee.confirmation-request.v1",
    "network": "example",
    "validator": VALIDATOR.public_key().public_bytes_raw().hex(),
    "epoch": 7,
    "index": 12,
    "at": 1785000123,
    "worker": {"operator": "a1" * 32, "platform": "b1" * 32, "slot": 0},
    "keyset": digest(0xC1),
    "view": digest(0xF1),
    "engine": digest(0xD2),
    "exchange": {
        "request": '{"messages":[{"role":"user","content":"Grüße"}]}',
        "response": 'data: {"choices":[]}\n\ndata: [DONE]\n\n',
        "report": "{}",
        "receipt": "{}",
        "receipt_key": "5e" * 32,
    },
}
REQUESTS = [
    ("an answer that was streamed", REQUEST),
    ("a receipt without a key", changed(REQUEST, index=13, exchange={**REQUEST["exchange"], "receipt_key": None})),
]
MALFORMED = [
    ("another version", {"version": "veritee.confirmation-request.v2"}),
    ("a network that is no name", {"network": "../x"}),
    ("an epoch beyond 32 bits", {"epoch": 2**32}),
    ("an index beyond a million", {"index": 1000000}),
    ("a negative time", {"at": -1}),
    ("nobody accused", {"worker": None}),
    ("a worker with more members", {"worker": {**REQUEST["worker"], "name": "x"}}),
    ("a keyset in upper case", {"keyset": "sha256:" + "C1" * 32}),
    ("no view", {"view": None}),
    ("an engine in words", {"engine": "llama.cpp"}),
    ("what was found", {"replay": {"level": 1, "outcome": "fail"}}),
    ("at which token, within", {"exchange": {**REQUEST["exchange"], "equal": 3}}),
    ("no answer", {"exchange": {**REQUEST["exchange"], "response": None}}),
    ("a short key", {"exchange": {**REQUEST["exchange"], "receipt_key": "5e" * 31}}),
    ("a fraction", {"index": 1.5}),
]
VECTORS = {
    "requests": [{"what": what, "request": sign(request)} for what, request in REQUESTS],
    "refused": [{"why": why, "request": sign(changed(REQUEST, **change)), "code": "confirmation_request_malformed"} for why, change in MALFORMED]
    + [
        {"why": "members in another order", "request": json.dumps(dict(reversed(list(json.loads(sign(REQUEST)).items()))), separators=(",", ":")), "code": "confirmation_request_malformed"},
        {"why": "white space", "request": sign(REQUEST) + "\n", "code": "confirmation_request_malformed"},
        {"why": "signed by another", "request": sign(REQUEST, OTHER), "code": "confirmation_request_signature_invalid"},
        {"why": "another answer", "request": sign(REQUEST).replace("[DONE]", "[GONE]"), "code": "confirmation_request_signature_invalid"},
        {"why": "the words of an audit record signed", "request": jcs({**REQUEST, "signature": VALIDATOR.sign(b"veritee.audit.v1\n" + jcs(REQUEST)).hex()}).decode(), "code": "confirmation_request_signature_invalid"},
    ],
}
print(json.dumps(VECTORS, indent=2, ensure_ascii=False))
