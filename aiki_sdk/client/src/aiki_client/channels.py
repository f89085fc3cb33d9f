"""Channels to coordinators, in the clear or with TLS."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from aiki_client.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a client or worker knows its coordinators, and they know it: PEM files.

    Args:
        ca: whose certificates it trusts; None: those that the system trusts.
        cert: its own certificate, for coordinators that ask for one. Goes with `key`.
        key: the key of its own certificate.
        server_name: the name that must stand in their certificates; '': the host of the address.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """As the files are now.

        Raises:
            SettingsError: a file cannot be read, or one of certificate and key is missing.
        """
        if (self.cert is None) != (self.key is None):
            raise SettingsError("tls_cert and tls_key go together: give both or neither")
        try:
            ca, key, cert = (
                None if path is None else path.read_bytes() for path in (self.ca, self.key, self.cert)
            )
        except OSError as error:
            raise SettingsError(f"a certificate cannot be read: {error}") from error
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def open_channel(address: str, tls: Tls | None, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
    """A channel to one coordinator.

    Raises:
        SettingsError: as `Tls.credentials`.
    """
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    named = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return grpc.aio.secure_channel(address, tls.credentials(), options=[*options, *named])
