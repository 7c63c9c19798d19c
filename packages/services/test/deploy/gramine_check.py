"""Reads a manifest as Gramine's own tools do, checks it against their schema and fills in what they fill in; prints what came of it as JSON."""
import io
import json
import sys

try:
    import tomllib
except ImportError:
    import tomli as tomllib
from graminelibos import Manifest

manifest = Manifest.from_template(sys.stdin.read(), {})
manifest.check()
manifest.expand_all_trusted_files()
out = io.BytesIO()
manifest.dump(out)
json.dump(tomllib.loads(out.getvalue().decode()), sys.stdout)
