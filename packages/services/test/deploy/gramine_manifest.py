# Renders a template as Gramine's preprocessor sets Jinja2 up, with the globals that it documents, and reads the result as TOML.
# Reads {"template", "variables", "libos", "runtimedir"} from standard input; writes {"text", "parsed"}.
import json
import pathlib
import sys
import tomllib

import jinja2

job = json.load(sys.stdin)
environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
environment.globals['gramine'] = {
    'libos': pathlib.Path(job['libos']),
    'runtimedir': lambda libc='glibc': pathlib.Path(job['runtimedir']) / libc,
}
text = environment.from_string(job['template']).render(**job['variables'])
json.dump({'text': text, 'parsed': tomllib.loads(text)}, sys.stdout)
