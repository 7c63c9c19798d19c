# Makes spec/vectors/audit-record.json from spec/audit-record.md alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/scoring/make-record-vectors.py > spec/vectors/audit-record.json
import copy
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VALIDATOR = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x12" * 32)


def jcs(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def public(key):
    return key.public_key().public_bytes_raw().hex()


def digest(n):
    return "sha256:" + f"{n:02x}" * 32


def sign(record, key=VALIDATOR):
    message = b"veritee.audit.v1\n" + jcs(record)
    return jcs({**record, "signature": key.sign(message).hex()}).decode()


PASS = {
    "version": "veritee.audit.v1",
    "network": "example",
    "validator": public(VALIDATOR),
    "epoch": 7,
    "index": 0,
    "at": 1785000123,
    "kind": "probe",
    "worker": {"operator": "a1" * 32, "platform": "b1" * 32, "slot": 0},
    "keyset": digest(0xC1),
    "model": {"name": "demo", "weights": digest(0xD1)},
    "path": ["a9" * 32],
    "attestation": {"verdict": "accepted", "code": None, "evidence": digest(0xE1), "collateral": digest(0xE2)},
    "view": {"digest": digest(0xF1), "log": {"origin": "example/log", "index": 41, "leaf": "f2" * 32}},
    "replay": {"level": 1, "outcome": "pass", "engine": digest(0xD2), "calibration": None, "tokens": {"total": 32, "equal": 32, "near": None}},
    "timings": {"worker": {"first_ms": 90, "total_ms": 400}, "validator": {"first_ms": 110, "total_ms": 450}},
    "output_tokens": 32,
    "canary": None,
    "verdict": "pass",
    "reason": None,
    "charged": None,
}


def changed(base, **changes):
    return {**copy.deepcopy(base), **changes}


LEVEL2 = {"level": 2, "outcome": "fail", "engine": digest(0xD3), "calibration": digest(0xD4), "tokens": {"total": 64, "equal": 20, "near": 31}}
RECORDS = [
    ("a probe that passed", PASS),
    ("a canary that passed at level 2", changed(PASS, index=1, kind="canary", canary=digest(0xCA), replay={**LEVEL2, "outcome": "pass"})),
    ("organic traffic, the view only", changed(PASS, index=2, kind="organic", path=[], timings=None, replay=None, output_tokens=64)),
    ("a replay that failed at level 2", changed(PASS, index=3, replay=LEVEL2, verdict="fail", reason="replay_mismatch", charged="worker")),
    ("no answer through a controller", changed(PASS, index=4, worker=None, keyset=None, model=None, attestation=None, view=None, replay=None, timings=None, output_tokens=0, verdict="unattributable", reason="timeout", charged="controller")),
    ("evidence that is not accepted", changed(PASS, index=5, path=[], view=None, replay=None, timings=None, output_tokens=0, attestation={"verdict": "rejected", "code": "policy_tcb_status", "evidence": digest(0xE3), "collateral": digest(0xE4)}, verdict="fail", reason="attestation_rejected", charged="worker")),
    ("an engine that cannot be replayed", changed(PASS, index=6, replay=None, verdict="inconclusive", reason="engine_not_replayable")),
    ("a confirmation", changed(PASS, index=7, kind="confirmation", path=[], timings=None, replay={**LEVEL2, "level": 1, "calibration": None, "tokens": {"total": 64, "equal": 20, "near": None}}, verdict="fail", reason="replay_mismatch", charged="worker")),
    ("a confirmation that finds the answer again", changed(PASS, index=10, kind="confirmation", path=[], timings=None, view={"digest": digest(0xF1), "log": None})),
    ("a confirmation that came to no end", changed(PASS, index=11, kind="confirmation", path=[], timings=None, replay=None, verdict="inconclusive", reason="not_confirmable")),
    ("organic traffic whose view nobody gives out", changed(PASS, index=9, kind="organic", path=[], timings=None, replay=None, worker=None, keyset=None, model=None, attestation=None, output_tokens=0, view={"digest": None, "log": PASS["view"]["log"]}, verdict="inconclusive", reason="view_unavailable")),
    ("organic traffic whose view is not signed by its keyset", changed(PASS, index=8, kind="organic", path=[], timings=None, replay=None, verdict="unattributable", reason="receipt_signature_invalid")),
]

TIMING = {"first_ms": 9, "total_ms": 8}
MALFORMED = [
    ("another version", {"version": "veritee.audit.v2"}),
    ("a network that is no name", {"network": "../x"}),
    ("an epoch beyond 32 bits", {"epoch": 2**32}),
    ("an index beyond a million", {"index": 1000000}),
    ("a negative time", {"at": -1}),
    ("an unknown kind", {"kind": "self"}),
    ("a slot beyond 16 bits", {"worker": {**PASS["worker"], "slot": 65536}}),
    ("an operator in upper case", {"worker": {**PASS["worker"], "operator": "A1" * 32}}),
    ("five controllers", {"path": ["a9" * 32] * 5}),
    ("an unsalted digest beside the view", {"view": {**PASS["view"], "body_hash": digest(1)}}),
    ("a keyset without a worker", {"worker": None}),
    ("a canary's commitment on a probe", {"canary": digest(0xCA)}),
    ("a canary without commitment", {"kind": "canary"}),
    ("organic traffic through a controller", {"kind": "organic", "timings": None}),
    ("organic traffic with timings", {"kind": "organic", "path": []}),
    ("organic traffic outside of the log", {"kind": "organic", "path": [], "timings": None, "view": {**PASS["view"], "log": None}}),
    ("organic traffic without a leaf", {"kind": "organic", "path": [], "timings": None, "view": None, "verdict": "inconclusive", "reason": "view_unavailable"}),
    ("a probe without digest of the view", {"view": {**PASS["view"], "digest": None}}),
    ("inconclusive about nobody", {"worker": None, "keyset": None, "replay": None, "verdict": "inconclusive", "reason": "replay_unavailable"}),
    ("a confirmation that passes without replay", {"kind": "confirmation", "path": [], "timings": None, "replay": None}),
    ("a confirmation at level 2", {"kind": "confirmation", "path": [], "timings": None, "replay": LEVEL2, "verdict": "fail", "reason": "replay_mismatch", "charged": "worker"}),
    ("a confirmation without view", {"kind": "confirmation", "path": [], "timings": None, "view": None, "verdict": "inconclusive", "reason": "not_confirmable"}),
    ("a confirmation about nobody", {"kind": "confirmation", "path": [], "timings": None, "worker": None, "keyset": None, "verdict": "inconclusive", "reason": "not_confirmable"}),
    ("a confirmation without weights", {"kind": "confirmation", "path": [], "timings": None, "model": None, "replay": None, "verdict": "inconclusive", "reason": "not_confirmable"}),
    ("a confirmation through a controller", {"kind": "confirmation", "timings": None}),
    ("a confirmation of another fault", {"kind": "confirmation", "path": [], "timings": None, "verdict": "fail", "reason": "model_mismatch", "charged": "worker"}),
    ("a confirmation that nobody signed for", {"kind": "confirmation", "path": [], "timings": None, "verdict": "unattributable", "reason": "response_mismatch", "charged": "worker"}),
    ("a probe that is not confirmable", {"verdict": "inconclusive", "reason": "not_confirmable", "replay": None}),
    ("a calibration at level 1", {"replay": {**PASS["replay"], "calibration": digest(1)}}),
    ("level 2 without calibration", {"replay": {**LEVEL2, "outcome": "pass", "calibration": None}}),
    ("near tokens at level 1", {"replay": {**PASS["replay"], "tokens": {"total": 2, "equal": 1, "near": 1}}}),
    ("more equal tokens than there are", {"replay": {**PASS["replay"], "tokens": {"total": 2, "equal": 3, "near": None}}}),
    ("an end before the first byte", {"timings": {"worker": None, "validator": TIMING}}),
    ("a pass with a reason", {"reason": "timeout"}),
    ("a pass that is charged", {"charged": "worker"}),
    ("a pass without worker", {"worker": None, "keyset": None}),
    ("a pass without view", {"view": None}),
    ("a pass without evidence", {"attestation": None}),
    ("a pass under rejected evidence", {"attestation": {"verdict": "rejected", "code": "policy_debug", "evidence": digest(1), "collateral": None}}),
    ("accepted evidence with a code", {"attestation": {**PASS["attestation"], "code": "policy_debug"}}),
    ("a pass that was not replayed", {"replay": None}),
    ("a pass whose replay failed", {"replay": {**PASS["replay"], "outcome": "fail"}}),
    ("a pass without timings", {"timings": None}),
    ("inconclusive for a fault", {"verdict": "inconclusive", "reason": "timeout"}),
    ("inconclusive and charged", {"verdict": "inconclusive", "reason": "log_pending", "charged": "worker"}),
    ("a fail for an obstacle", {"verdict": "fail", "reason": "log_pending", "charged": "worker"}),
    ("a fail without reason", {"verdict": "fail", "charged": "worker"}),
    ("an unknown reason", {"verdict": "fail", "reason": "ugly", "charged": "worker"}),
    ("a fail that nobody is charged with", {"verdict": "fail", "reason": "model_mismatch"}),
    ("a replay mismatch of a replay that passed", {"verdict": "fail", "reason": "replay_mismatch", "charged": "worker"}),
    ("a controller charged on a direct connection", {"path": [], "verdict": "fail", "reason": "refused", "charged": "controller"}),
    ("S19: a worker charged for what only a controller delivered", {"verdict": "unattributable", "reason": "timeout", "charged": "worker"}),
    ("S19: a worker charged through a controller without a signed receipt", {"view": None, "verdict": "fail", "reason": "timeout", "charged": "worker"}),
    ("a fraction", {"output_tokens": 1.5}),
]

VECTORS = {
    "records": [{"what": what, "record": sign(record)} for what, record in RECORDS],
    "refused": [{"why": why, "record": sign(changed(PASS, **change)), "code": "audit_record_malformed"} for why, change in MALFORMED]
    + [
        {"why": "members in another order", "record": json.dumps(dict(reversed(list(json.loads(sign(PASS)).items()))), separators=(",", ":")), "code": "audit_record_malformed"},
        {"why": "white space", "record": sign(PASS) + "\n", "code": "audit_record_malformed"},
        {"why": "signed by another", "record": sign(PASS, OTHER), "code": "audit_record_signature_invalid"},
        {"why": "a token more", "record": sign(PASS).replace('"output_tokens":32', '"output_tokens":33'), "code": "audit_record_signature_invalid"},
    ],
}
print(json.dumps(VECTORS, indent=2, ensure_ascii=False))
