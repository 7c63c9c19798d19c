# Makes spec/vectors/log.json from spec/log.md, RFC 6962 and the specifications of C2SP alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/log/make-vectors.py > spec/vectors/log.json
import base64
import hashlib
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
        },
        indent=2,
        ensure_ascii=False,
    )
)
