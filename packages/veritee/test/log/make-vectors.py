# Makes spec/vectors/log.json from spec/log.md, RFC 6962 and the specifications of C2SP alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/log/make-vectors.py > spec/vectors/log.json
import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORIGIN = "log.example/veritee"


def b64(data):
    return base64.b64encode(data).decode()


def key(seed):
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
    return private, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def vkey(name, kind, public):
    return f"{name}+{key_id(name, kind, public).hex()}+{b64(bytes([kind]) + public)}"


def line(name, kind, public, signature):
    return f"\u2014 {name} {b64(key_id(name, kind, public) + signature)}\n"


def leaf(data):
    return hashlib.sha256(b"\x00" + data).digest()


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def path(m, hashes):
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    return path(m, hashes[:k]) + [mth(hashes[k:])] if m < k else path(m - k, hashes[k:]) + [mth(hashes[:k])]


def subproof(m, hashes, whole):
    if m == len(hashes):
        return [] if whole else [mth(hashes)]
    k = split(len(hashes))
    if m <= k:
        return subproof(m, hashes[:k], whole) + [mth(hashes[k:])]
    return subproof(m - k, hashes[k:], False) + [mth(hashes[:k])]


def tile_name(level, n, width):
    parts = [f"{n % 1000:03d}"]
    while n >= 1000:
        n //= 1000
        parts.insert(0, f"x{n % 1000:03d}")
    return f"tile/{level}/{'/'.join(parts)}" + ("" if width == 256 else f".p/{width}")


log_private, log_public = key("log")
witnesses = [(f"witness{i}.example", *key(f"witness {i}")) for i in (1, 2, 3)]
entries = [b"", *[f"entry {i}".encode() for i in range(1, 600)]]
leaves = [leaf(entry) for entry in entries]


def checkpoint(size, cosigners, hashes=leaves):
    body = f"{ORIGIN}\n{size}\n{b64(mth(hashes[:size]))}\n"
    note = body + "\n" + line(ORIGIN, 1, log_public, log_private.sign(body.encode()))
    for i, time in cosigners:
        name, private, public = witnesses[i]
        signed = f"cosignature/v1\ntime {time}\n{body}".encode()
        note += line(name, 4, public, time.to_bytes(8, "big") + private.sign(signed))
    return note


def proof(index, size, cosigners, extra=None):
    lines = ["c2sp.org/tlog-proof@v1"]
    if extra is not None:
        lines.append(f"extra {b64(extra)}")
    lines.append(f"index {index}")
    lines += [b64(h) for h in path(index, leaves[:size])]
    return "\n".join(lines) + "\n\n" + checkpoint(size, cosigners)


def tiles(size):
    found = {}
    level, hashes = 0, leaves[:size]
    while hashes:
        for n in range(0, len(hashes), 256):
            part = hashes[n : n + 256]
            found[tile_name(level, n // 256, len(part))] = hashlib.sha256(b"".join(part)).hexdigest()
        hashes = [mth(hashes[n : n + 256]) for n in range(0, len(hashes) - 255, 256)]
        level += 1
    for n in range(0, size, 256):
        part = entries[n : min(n + 256, size)]
        bundle = b"".join(len(e).to_bytes(2, "big") + e for e in part)
        found[tile_name("entries", n // 256, len(part))] = hashlib.sha256(bundle).hexdigest()
    return found


def jcs(value):
    # All texts here are ASCII and all numbers whole, where this is RFC 8785.
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


enclave_private, enclave_public = key("enclave")
keyset = {
    "not_after": 1800000000,
    "receipt_signing_keys": [{"key_id": "receipt-1", "algo": "ed25519", "public_key": enclave_public.hex()}],
    "e2ee_public_keys": [],
    "tls_public_keys": [],
}
keyset_digest = digest(jcs(keyset).encode())
receipt_key = bytes(range(32))
bodies = {name: digest(name.encode()) for name in ("request.received", "request.forwarded", "response.returned")}
files = [{"name": "demo.gguf", "sha256": digest(b"weights"), "size": 7}]
engine = {"name": "llama.cpp", "version": "1", "build": digest(b"build"), "cpu_variant": "x64-avx2"}
model = {"name": "demo", "format": "gguf", "sealed": False, "provenance": "hashed_while_loading", "chat_template_digest": None}
shown = {"temperature": "0.7", "top_k": 40, "seed_source": "client"}
promise = {"origin": ORIGIN, "promised_by": 1700000600}
receipt = {
    "api_version": "aci/1",
    "receipt_id": "rcpt-0",
    "chat_id": None,
    "model": "demo",
    "workload_keyset_digest": keyset_digest,
    "endpoint": "/v1/chat/completions",
    "method": "POST",
    "served_at": 1700000000,
    "event_log": [
        {"type": "request.received", "body_hash": bodies["request.received"]},
        {"type": "request.forwarded", "body_hash": bodies["request.forwarded"]},
        {"type": "veritee.model", "files": files, **model},
        {
            "type": "veritee.inference",
            "engine": engine,
            "profile": "canonical",
            "prompt_tokens": 37,
            "completion_tokens": 8,
            "prompt_tokens_hmac": "11" * 32,
            "completion_tokens_hmac": "22" * 32,
            "parameters": {**shown, "stop": ["x"], "max_tokens": 475},
            "seed": "000000000000002a",
            "ignored_parameters": [],
            "outcome": "complete",
        },
        {"type": "response.returned", "body_hash": bodies["response.returned"]},
        {"type": "veritee.receipt_key", "commitment": digest(b"veritee.receipt-key.v1\n" + receipt_key)},
        {"type": "veritee.log", **promise},
        {"type": "veritee.chain", "sequence": 3, "previous": digest(b"receipt before")},
    ],
    "key_id": "receipt-1",
}
receipt["signature"] = enclave_private.sign(jcs(receipt).encode()).hex()


def keyed(name):
    return hmac.new(receipt_key, bytes.fromhex(bodies[name][7:]), hashlib.sha256).hexdigest()


def statement(document):
    message = (document["version"] + "\n" + jcs(document)).encode()
    return {
        "text": jcs({**document, "signature": enclave_private.sign(message).hex()}),
        "entry": hashlib.sha256(message).hexdigest(),
        "leaf": leaf(hashlib.sha256(message).digest()).hex(),
    }


view = {
    "version": "veritee.audit-view.v1",
    "log": promise,
    "workload_keyset_digest": keyset_digest,
    "key_id": "receipt-1",
    "sequence": 3,
    "previous": digest(b"receipt before"),
    "receipt_digest": digest(jcs(receipt).encode()),
    "served_at": 1700000000,
    "outcome": "complete",
    "model": {**model, "weights": digest(jcs(files).encode())},
    "engine": engine,
    "profile": "canonical",
    "parameters": shown,
    "tokens": {"prompt": 64, "completion": 8},
    "content": {
        "request_received": keyed("request.received"),
        "request_forwarded": keyed("request.forwarded"),
        "response_returned": keyed("response.returned"),
    },
    "upstream": None,
}
head = {
    "version": "veritee.chain-head.v1",
    "log": promise,
    "workload_keyset_digest": keyset_digest,
    "key_id": "receipt-1",
    "at": 1700000000,
    "receipts": 4,
    "last": view["receipt_digest"],
}

forked = leaves[:599] + [leaf(b"another")]
print(
    json.dumps(
        {
            "trust": {
                "origin": ORIGIN,
                "key": vkey(ORIGIN, 1, log_public),
                "witnesses": [vkey(name, 4, public) for name, _, public in witnesses],
                "quorum": 2,
            },
            "entries": "number 0 is empty; number i, from 1 to 599, is the ASCII text of: entry, a space, i",
            "roots": {str(n): mth(leaves[:n]).hex() for n in (0, 1, 2, 3, 255, 256, 257, 512, 600)},
            "checkpoint": checkpoint(600, [(0, 1700000300), (2, 1700000100)]),
            "witnessed_at": 1700000100,
            "one_witness": checkpoint(600, [(0, 1700000300)]),
            "fork": checkpoint(600, [(0, 1700000300), (2, 1700000100)], forked),
            "proofs": [
                {"index": i, "size": n, "text": proof(i, n, [(0, 1700000300), (1, 1700000100)], extra)}
                for i, n, extra in ((0, 1, None), (0, 600, b"extra"), (255, 256, None), (256, 257, None), (599, 600, None), (300, 512, None))
            ],
            "consistency": [
                {"first": m, "second": n, "proof": [h.hex() for h in subproof(m, leaves[:n], True)]}
                for m, n in ((1, 2), (255, 256), (256, 600), (257, 599), (511, 600), (600, 600))
            ],
            "tiles": tiles(600),
            "statements": {
                "keyset": keyset,
                "receipt": jcs(receipt),
                "receipt_key": receipt_key.hex(),
                "view": statement(view),
                "head": statement(head),
            },
        },
        indent=2,
        ensure_ascii=False,
    )
)
