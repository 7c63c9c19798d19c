# Makes spec/vectors/admission-manifest.json from spec/admission-manifest.md alone, in another language and with another library (PyCA cryptography).
# python3 packages/veritee/test/admission/make-vectors.py > spec/vectors/admission-manifest.json
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNERS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)]
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
OPERATOR = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
SALT = b"\x05" * 32
PPID = "a1" * 16
INSTANCE = "b2" * 16


def jcs(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def public(key):
    return key.public_key().public_bytes_raw().hex()


def platform(instance):
    return hmac.new(SALT, jcs({"instance": instance, "ppid": PPID, "purpose": "veritee.platform.v1"}), hashlib.sha256).hexdigest()


def section(identity, **changes):
    return {
        "tee": ["sgx"],
        "simulated": "refuse",
        "physical": "any",
        "debug": "refuse",
        "identity": identity,
        "attributes": "any",
        "tdx": "any",
        "tcb": {"statuses": ["UpToDate", "SWHardeningNeeded"], "advisories": ["INTEL-SA-00615"], "minTcbEvaluationDataNumber": 17, "gracePeriod": 0},
        "platform": {"fmspc": {"allow": "any", "deny": []}, "ppid": {"allow": "any", "deny": []}, "dynamicPlatform": "any", "cachedKeys": "any", "smt": "any"},
        "maxCollateralAge": 2592000,
        "maxAttestationAge": 3600,
        "models": "any",
        "engine": "any",
        "operator": "any",
        "release": "any",
        "log": "any",
        "channel": "attested",
        **changes,
    }


manifest = {
    "version": "veritee.admission-manifest.v1",
    "network": "example",
    "manifest_version": 7,
    "issued": 1790000000,
    "expires": 1792592000,
    "roles": {
        "controller": section([{"mrenclave": "c0" * 32}]),
        "worker": section(
            [{"mrsigner": "ab" * 32, "isvProdId": 1, "minIsvSvn": 4}],
            models={"example": ["sha256:" + "11" * 32]},
            operator=[public(OPERATOR)],
        ),
    },
    "platforms": {"salt": SALT.hex(), "allow": "any", "deny": [platform(None)], "shared": [platform(INSTANCE)]},
}


def signature(key, document):
    return {"key": public(key), "signature": key.sign(b"veritee.admission-manifest.v1\n" + jcs(document)).hex()}


def signed(document, *keys):
    return jcs({**document, "signatures": sorted((signature(key, document) for key in keys), key=lambda one: one["key"])}).decode()


def altered(document, changes, *keys):
    signatures = sorted((signature(key, document) for key in keys), key=lambda one: one["key"])
    return jcs({**document, **changes, "signatures": signatures}).decode()


a, b, c = SIGNERS
digest = "sha256:" + hashlib.sha256(jcs(manifest)).hexdigest()
keyset = "sha256:" + "77" * 32
print(
    json.dumps(
        {
            "trust": {"network": "example", "keys": [public(key) for key in SIGNERS], "threshold": 2, "minimum_version": 7},
            "at": 1790000100,
            "manifest": signed(manifest, a, c),
            "digest": digest,
            "signers": sorted([public(a), public(c)]),
            "platforms": [
                {"ppid": PPID, "instance": None, "id": platform(None)},
                {"ppid": PPID, "instance": INSTANCE, "id": platform(INSTANCE)},
            ],
            "operator": {"key": public(OPERATOR), "keyset_digest": keyset, "signature": OPERATOR.sign(b"veritee.operator.v1\n" + keyset.encode()).hex()},
            "refused": [
                {"why": "one signature of the two demanded", "manifest": signed(manifest, a), "code": "admission_manifest_signatures_missing"},
                {"why": "the second signature is of a stranger", "manifest": signed(manifest, a, STRANGER), "code": "admission_manifest_signatures_missing"},
                {"why": "changed after it was signed", "manifest": altered(manifest, {"expires": 1792592001}, a, b), "code": "admission_manifest_signature_invalid"},
                {"why": "of another network", "manifest": signed({**manifest, "network": "other"}, a, b), "code": "admission_manifest_network"},
                {"why": "below the lowest version", "manifest": signed({**manifest, "manifest_version": 6}, a, b), "code": "admission_manifest_rolled_back"},
                {"why": "over", "manifest": signed({**manifest, "issued": 1780000000, "expires": 1790000100}, a, b), "code": "admission_manifest_expired"},
                {"why": "not begun", "manifest": signed({**manifest, "issued": 1790000401}, a, b), "code": "admission_manifest_expired"},
                {"why": "longer than a year", "manifest": signed({**manifest, "expires": 1830000000}, a, b), "code": "admission_manifest_malformed"},
            ],
        },
        indent=2,
    )
)
