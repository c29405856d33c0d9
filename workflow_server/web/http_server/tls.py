"""TLS: a certificate that can be renewed while the server runs."""

from __future__ import annotations

import logging
import os
import ssl
import threading

from workflow_server.config_file import is_readable_by_others
from workflow_server.printable import printable
from workflow_server.web.exceptions import CertificateError

logger = logging.getLogger(__name__)


class Certificate:
    """The certificate of the server with its chain and its private key, from two PEM files.

    Raises:
        CertificateError: the files cannot be used.
    """

    def __init__(self, certificate: str, key: str) -> None:
        # A step may change the current folder before the files are read again.
        self._certificate = os.path.abspath(certificate)
        self._key = os.path.abspath(key)
        self.context = self._loaded()
        """The context for sockets. Connections get the certificate that was loaded last."""
        self._newest = self.context
        self._loading = threading.Lock()
        self.context.sni_callback = self._choose

    def load(self) -> None:
        """Read the files again, for connections that come from now on.

        Raises:
            CertificateError: the files cannot be used; the certificate is what it was.
        """
        with self._loading:
            self._newest = self._loaded()

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Give a connection the newest certificate. OpenSSL calls this at each handshake, also without a name in it."""
        connection.context = self._newest

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Old sessions would go on with the certificate that they began with.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # With a password that is wrong instead of a prompt at the terminal.
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except (OSError, ValueError) as error:
            shown = printable(self._certificate), printable(self._key)
            raise CertificateError(
                f"The certificate '{shown[0]}' and the key '{shown[1]}' cannot be used: {_reason(error)}."
            ) from error
        if is_readable_by_others(self._key):
            logger.warning("other users can read the key %s: let only its owner read it (chmod 600)", self._key)
        return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "they do not belong together"
        return "expected two PEM files, the key without a password"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
