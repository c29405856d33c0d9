"""The consumers that are tried: what they are, how they are run, and what who uses them needs to know."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"


@dataclass(frozen=True)
class Consumer:
    """One of them. ``package`` names it as its registry does; ``pins`` are installed together."""

    package: str
    version: str
    registry: str
    environment: str
    program: tuple[str, ...]
    sse: bool = False
    note: str = ""

    @property
    def pin(self) -> str:
        """The requirement that installs it."""
        return f"{self.package}{'@' if self.registry == 'npm' else '=='}{self.version}"


def _python(package: str, version: str, note: str = "", *, sse: bool = False, environment: str = "readers") -> Consumer:
    program = "read_sse.py" if sse else "read_ndjson.py"
    library = package.replace("-", "_")
    return Consumer(package, version, "PyPI", environment, ("python", program, library), sse, note)


def _node(package: str, version: str, note: str = "", *, sse: bool = False) -> Consumer:
    return Consumer(package, version, "npm", "node", ("node", "read.mjs", package), sse, note)


def _piped(package: str, version: str, command: str, note: str = "") -> Consumer:
    return Consumer(package, version, "Debian", "", ("sh", "-c", f'curl -sSfN "$0" | {command}'), note=note)


_CLOSE = "Close it at the terminal event, or let the 204 that follows close it."
_LEAVE = "Leave at the terminal event: the 204 that follows raises."

CONSUMERS: tuple[Consumer, ...] = (
    _python("jsonlines", "4.0.0"),
    _python("ndjson", "0.3.1"),
    _python(
        "pandas",
        "3.1.1",
        "`read_json(response, lines=True, chunksize=1)` hands out each event; without `chunksize` it waits for the end."
        " `types` comes as NaN where it is null.",
    ),
    _python(
        "polars",
        "2.1.0",
        'Reads the whole. A float field in which `"NaN"` comes among the first 100 events becomes text; one in which '
        "it comes later is an error: give `infer_schema_length=None`.",
    ),
    _python(
        "duckdb",
        "2.0.1",
        'Reads a file. A float field in which `"NaN"` comes becomes JSON, where the text has its quotes: name it DOUBLE'
        " in `columns`, and NaN is read back. `time` is read as a time.",
    ),
    _python(
        "pyarrow",
        "26.0.1",
        'Reads the whole. A field that holds numbers and `"NaN"` is an error, also with an explicit schema: read such '
        "streams with another library.",
    ),
    _python(
        "ijson",
        "3.6.0",
        '`items(file, "", multiple_values=True)`; where `file.read` is `read1` of the response, or it waits for 64 KiB.'
        " `use_float=True`, or numbers are Decimals.",
    ),
    _python("sqlite-utils", "4.2.1", "`insert events.db events - --nl`. `value` becomes a column of JSON text."),
    _piped("jq", "1.6", "jq --unbuffered -c .", "`--unbuffered`, or events wait for a full buffer."),
    _piped(
        "miller",
        "6.6.0",
        "mlr --ijsonl --ojsonl --records-per-batch 1 --fflush cat",
        "`--records-per-batch 1 --fflush`, or it waits for 500 events and for a full buffer.",
    ),
    _node("ndjson", "2.0.0"),
    _node("split2", "4.2.0", "`split2(JSON.parse)`."),
    _node("stream-json", "3.8.0", "`stream-json/jsonl/parser.js`."),
    _python("httpx-sse", "0.4.3", "Connect again with `Last-Event-ID`: it does not come back by itself.", sse=True),
    _python("sseclient-py", "1.9.0", "Connect again with `Last-Event-ID`: it does not come back by itself.", sse=True),
    _python("requests-sse", "0.5.3", _LEAVE, sse=True),
    _python("aiohttp-sse-client2", "0.3.0", _LEAVE, sse=True),
    _node(
        "eventsource",
        "5.1.5",
        f"{_CLOSE} In Node.js its timer keeps no process alive: a program that has nothing else to do ends, with exit "
        "code 0, when a stream breaks off.",
        sse=True,
    ),
    _node("eventsource-client", "1.2.0", _CLOSE, sse=True),
    _node(
        "@microsoft/fetch-event-source",
        "2.0.1",
        "Give `onopen` and `onerror`, and throw on 204: without them it asks for ever when the run has ended while it "
        "was away.",
        sse=True,
    ),
    _python("llama-index-workflows", "2.11.1", "Reads the shared queue.", sse=True, environment="old client"),
    _python("llama-agents-client", "0.4.1", sse=True, environment="client"),
    _node("@llamaindex/workflows-client", "1.8.5", "It hands out no sequences.", sse=True),
)


class Environments:
    """Environments in which the consumers run, made in a folder at their first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def command(self, consumer: Consumer, url: str) -> tuple[list[str], Path]:
        """The command that reads ``url``, and its working directory."""
        first, *rest = consumer.program
        if consumer.registry == "PyPI":
            return [str(self._python(consumer.environment)), str(PROGRAMS / rest[0]), *rest[1:], url], self._folder
        if consumer.registry == "npm":
            return [first, str(PROGRAMS / rest[0]), *rest[1:], url], self.node_modules
        return [first, *rest, url], self._folder

    @staticmethod
    def missing(consumer: Consumer) -> str | None:
        """The command that this machine would need for the consumer, and does not have."""
        needed = {"npm": ("node", "npm"), "Debian": ("curl", {"miller": "mlr"}.get(consumer.package, consumer.package))}
        return next((name for name in needed.get(consumer.registry, ()) if shutil.which(name) is None), None)

    @staticmethod
    def version(consumer: Consumer) -> str:
        """The version that runs: of Debian's packages the one that is installed."""
        if consumer.registry != "Debian":
            return consumer.version
        command = {"miller": "mlr"}.get(consumer.package, consumer.package)
        said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[-1].removeprefix("jq-")

    def _python(self, name: str) -> Path:
        folder = self._folder / name.replace(" ", "-")
        python, made = folder / "bin" / "python", folder / "made"
        if not made.exists():
            pins = [known.pin for known in CONSUMERS if known.environment == name]
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            quietly = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
            packages = [*pins, "httpx", "requests"]
            subprocess.run([python, "-m", "pip", "install", *quietly, *packages], check=True, stdin=subprocess.DEVNULL)
            made.touch()
        return python

    @cached_property
    def node_modules(self) -> Path:
        """A folder with all packages of npm."""
        folder, pins = self._folder / "node", [known.pin for known in CONSUMERS if known.registry == "npm"]
        if not (folder / "made").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text(json.dumps({"private": True}))
            subprocess.run(["npm", "install", "--silent", *pins], cwd=folder, check=True, stdin=subprocess.DEVNULL)
            (folder / "made").touch()
        return folder
