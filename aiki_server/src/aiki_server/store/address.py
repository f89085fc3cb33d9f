"""Where the store is, as a URL says: one node, a primary that Sentinel names, or a Cluster.

Invariant: a password is in no `repr`, no `str` and no error.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from aiki_server.store.errors import StoreUnsafeError

FORMS: Final = (
    "redis://HOST:PORT, rediss://HOST:PORT (TLS), unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/MASTER "
    "or redis+cluster://HOST:PORT,HOST:PORT"
)
SENTINEL_PORT: Final = 26379
PORT: Final = 6379
HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<name>[^\s\[\]:/@]+))(?::(?P<port>\d{1,5}))?")
TLS_KEYS: Final = frozenset({"ca", "cert", "key"})


@unique
class Kind(Enum):
    """How the node to talk to is found."""

    NODE = "node"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One node, and how to log in there. `ca`, `cert` and `key` are files, for TLS."""

    path: str = ""
    host: str = "localhost"
    port: int = PORT
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0

    @classmethod
    def parse(cls, url: str) -> Address:
        """From redis://, rediss:// or unix:///PATH.

        Raises:
            ValueError: the URL is none of these.
        """
        target = Target.parse(url)
        if target.kind is not Kind.NODE:
            raise ValueError("it names several nodes, where one is wanted")
        return target.addresses[0]

    def at(self, host: str, port: int) -> Address:
        """Another node, with the same credentials."""
        return replace(self, path="", host=host, port=port)

    def context(self) -> ssl.SSLContext | None:
        """How to speak TLS; None: not at all.

        Raises:
            StoreUnsafeError: a file of keys cannot be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ValueError) as error:
            names = ", ".join(name for name in (self.ca, self.cert, self.key) if name)
            raise StoreUnsafeError([f"The store's TLS files cannot be used ({names}): {error}."]) from error
        return context

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a URL names. `addresses` are nodes or sentinels to ask; `master` is for Sentinel only."""

    kind: Kind
    addresses: tuple[Address, ...]
    master: str = ""

    @classmethod
    def parse(cls, url: str, *, user: str = "", password: str = "") -> Target:
        """From any of `FORMS`. `user` and `password` win over those in the URL.

        Raises:
            ValueError: the URL is none; the message has nothing of its credentials.
        """
        parts = urlsplit(url)
        base, kind = _scheme(parts.scheme)
        credentials, _, hosts = parts.netloc.rpartition("@")
        own_user, _, own_password = credentials.partition(":")
        login = Address(
            tls=base in {"rediss", "valkeys"},
            username=user or unquote(own_user),
            password=password or unquote(own_password),
        )
        if login.username and not login.password:
            raise ValueError("it names a user without a password")
        query = _query(parts.query, {"db"} if base == "unix" else TLS_KEYS if login.tls else set())
        path = unquote(parts.path)
        if base == "unix":
            if hosts or len(path) < len("/x"):
                raise ValueError("a socket is written unix:///PATH")
            address = replace(login, path=path, database=_number(query.get("db", "0")))
            return cls(kind=kind, addresses=(address,))
        login = _with_tls(login, query)
        if kind is Kind.SENTINEL:
            master = path.strip("/")
            if not master or "/" in master:
                raise ValueError("after its hosts stands the name of the master that Sentinel watches")
            return cls(kind=kind, addresses=_hosts(hosts, login, SENTINEL_PORT), master=master)
        database = _number(path.strip("/") or "0")
        if kind is Kind.CLUSTER:
            if database:
                raise ValueError("a Cluster has no databases but 0")
            return cls(kind=kind, addresses=_hosts(hosts, login, PORT))
        addresses = _hosts(hosts or "localhost", replace(login, database=database), PORT)
        if len(addresses) > 1:
            raise ValueError("it names several hosts: write redis+cluster:// or redis+sentinel://")
        return cls(kind=kind, addresses=addresses)

    def __str__(self) -> str:
        hosts = ",".join(map(str, self.addresses))
        return f"{self.master} at {hosts}" if self.master else hosts


def _scheme(scheme: str) -> tuple[str, Kind]:
    base, _, rest = scheme.partition("+")
    if scheme in {"unix", "redis+unix"}:
        return "unix", Kind.NODE
    kinds = {"": Kind.NODE, "sentinel": Kind.SENTINEL, "cluster": Kind.CLUSTER}
    if base not in {"redis", "rediss", "valkey", "valkeys"} or rest not in kinds:
        raise ValueError(f"the store's address is {FORMS}")
    return base, kinds[rest]


def _hosts(text: str, login: Address, default: int) -> tuple[Address, ...]:
    found: list[Address] = []
    for part in text.split(","):
        match = HOST.fullmatch(part)
        port = int((match and match["port"]) or default)
        if match is None or not 0 < port < 2**16:
            raise ValueError("a host is written HOST:PORT, and several have commas between them")
        found.append(login.at(match["v6"] or match["name"], port))
    return tuple(found)


def _query(text: str, known: set[str] | frozenset[str]) -> dict[str, str]:
    given = parse_qs(text, keep_blank_values=True)
    if unknown := sorted(given.keys() - known):
        may = f"known here: {', '.join(sorted(known))}" if known else "this form takes none"
        raise ValueError(f"{', '.join(unknown)}: no such parameter ({may})")
    return {name: values[-1] for name, values in given.items()}


def _with_tls(login: Address, query: dict[str, str]) -> Address:
    for name, path in query.items():
        if not Path(path).is_file():
            raise ValueError(f"{name}={path}: there is no such file")
    if "key" in query and "cert" not in query:
        raise ValueError("key is given without cert")
    return replace(login, ca=query.get("ca", ""), cert=query.get("cert", ""), key=query.get("key", ""))


def _number(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"a database is a number, not {text!r}")
    return int(text)
