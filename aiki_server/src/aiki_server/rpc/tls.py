"""The coordinator's certificate, read again when its files change: certificates are renewed while it serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files. With `client_ca`, only clients and workers with a certificate that it signed are let in."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`.

        Raises:
            OSError: a file cannot be read.
        """
        current = _Current(self)
        return grpc.dynamic_ssl_server_credentials(
            current.configuration,
            current.newest,
            require_client_authentication=self.client_ca is not None,
        )

    def stamp(self) -> tuple[int, ...]:
        """Changes when a file does."""
        return tuple(
            path.stat().st_mtime_ns for path in (self.cert, self.key, self.client_ca) if path is not None
        )

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now."""
        roots = None if self.client_ca is None else self.client_ca.read_bytes()
        return grpc.ssl_server_certificate_configuration(
            [(self.key.read_bytes(), self.cert.read_bytes())], root_certificates=roots
        )


class _Current:
    """Asked at each handshake, from a thread of gRPC's."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = files.stamp()
        self.configuration = files.read()

    def newest(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold; what they held while the new ones cannot be read (yet)."""
        try:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self.configuration = self._files.read()
                self._stamp = stamp
                log.info("the certificate was renewed")
        except OSError as error:
            log.warning("the new certificate cannot be read: the old one stays", reason=str(error))
        return self.configuration
