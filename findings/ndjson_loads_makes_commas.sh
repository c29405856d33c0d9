#!/usr/bin/env bash
# ndjson 0.3.1 (PyPI), with Python's json: ndjson.loads and ndjson.load change strings of valid NDJSON without an error.
#
# JSON allows U+2028, U+2029 and U+0085 in a string as they are. `loads` splits the text with str.splitlines, which takes
# each of them for the end of a line, joins the pieces with commas, and parses that: the three characters become commas.
# `reader`, on the same text, returns them as they are. One would expect both to agree, or an error at most.
#
# Seen:
#   loads:  [{'t': 'a,b,c,d'}]
#   reader: [{'t': 'a\u2028b\u2029c\x85d'}]
#
# Exits 1 if that is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check ndjson==0.3.1
"$folder/env/bin/python" - <<'END'
import io
import json
import sys

import ndjson

wanted = {"t": "a\u2028b\u2029c\x85d"}
text = json.dumps(wanted, ensure_ascii=False) + "\n"
assert json.loads(text) == wanted, "the line is not valid JSON"
loaded, read = ndjson.loads(text), list(ndjson.reader(io.StringIO(text, newline="\n")))
print("loads: ", ascii(loaded))
print("reader:", ascii(read))
sys.exit(not (loaded == [{"t": "a,b,c,d"}] and read == [wanted]))
END
