"""Certificates that sign themselves, made by the command ``openssl``."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """The files of a certificate for 127.0.0.1 and of its key."""

    cert: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context that believes this certificate alone."""
        return ssl.create_default_context(cafile=str(self.cert))


def certificate(folder: Path, name: str) -> Pair:
    """Make a certificate and its key."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(pair.key), "-out", str(pair.cert), "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return pair
