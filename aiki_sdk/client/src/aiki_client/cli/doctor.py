"""`aiki doctor`: what is wrong with a cluster, and what to do about it.

Invariant: it looks and changes nothing; whatever is broken becomes a finding, never a traceback.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import click
import grpc
import grpc.aio
from rich.table import Table

from aiki.v1 import admin_pb2, admin_pb2_grpc
from aiki_client.channels import Tls, open_channel
from aiki_client.cli.options import connected
from aiki_client.cli.output import console, print_json
from aiki_client.cli.program import FAILED, OK
from aiki_client.connection import reason_of
from aiki_client.coordinators import parse_addresses
from aiki_client.settings import load_settings

if TYPE_CHECKING:
    from aiki.v1.admin_pb2_grpc import AdminServiceAsyncStub

ANSWER_SECONDS: Final = 8.0
CLOCK_SECONDS_MAX: Final = 2.0
SEVERITIES: Final = {
    admin_pb2.SEVERITY_OK: "ok",
    admin_pb2.SEVERITY_WARNING: "warning",
    admin_pb2.SEVERITY_PROBLEM: "problem",
}
COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at where, what was found, and what to do about it ('' for nothing)."""

    severity: str
    where: str
    subject: str
    message: str
    advice: str = ""


@click.command()
@connected
def doctor(*, as_json: bool, address: str | None, namespace: str | None) -> int:
    """Look for what is wrong with a cluster, and say what to do.

    Every coordinator that is named is asked about itself, its store, its clock and its workers. The exit
    status is 1 when there is a problem, 0 when there are warnings at most.
    """
    settings = load_settings(address=address, namespace=namespace)
    findings = asyncio.run(
        examine(parse_addresses([settings.address]), settings.namespace, settings.tls_files)
    )
    if as_json:
        for finding in findings:
            print_json(finding)
    else:
        console().print(_table(findings))
    return FAILED if any(finding.severity == "problem" for finding in findings) else OK


async def examine(addresses: Sequence[str], namespace: str, tls: Tls | None) -> list[Finding]:
    """The findings of every coordinator, and what they tell together."""
    answers = await asyncio.gather(*(_ask(address, namespace, tls) for address in addresses))
    findings: list[Finding] = []
    told: dict[str, admin_pb2.DiagnoseResponse] = {}
    for address, answer in zip(addresses, answers, strict=True):
        if isinstance(answer, Finding):
            findings.append(answer)
            continue
        told[address] = answer
        findings += [
            Finding(SEVERITIES[item.severity], address, item.subject, item.message, item.advice)
            for item in answer.findings
        ]
    return findings + list(_compared(told, version("aiki-client"), time.time()))


def _compared(told: dict[str, admin_pb2.DiagnoseResponse], own_version: str, now: float) -> Sequence[Finding]:
    """What only several answers, or an answer beside this machine, can tell."""
    findings: list[Finding] = []
    if len({answer.cluster_id for answer in told.values()}) > 1:
        findings.append(
            Finding(
                "problem",
                "all",
                "cluster",
                "The addresses belong to different clusters.",
                "Coordinators of one cluster share a store: correct the addresses, or --store of one of them.",
            )
        )
    versions = {answer.version for answer in told.values()} | {own_version}
    if told and len(versions) > 1:
        findings.append(
            Finding(
                "warning",
                "all",
                "versions",
                f"This command has version {own_version}, the coordinators {', '.join(sorted({a.version for a in told.values()}))}.",
                "They work together; bring them to one version when the upgrade is over.",
            )
        )
    elif told:
        findings.append(Finding("ok", "all", "versions", f"Everything has version {own_version}."))
    for address, answer in told.items():
        ahead = now - answer.store_time_ms / 1000
        if abs(ahead) > CLOCK_SECONDS_MAX:
            word = "ahead of" if ahead > 0 else "behind"
            message = f"The clock of this machine is {abs(ahead):.1f} s {word} the store's."
            findings.append(Finding("warning", address, "own clock", message, "Synchronize it (NTP)."))
    return findings


async def _ask(address: str, namespace: str, tls: Tls | None) -> admin_pb2.DiagnoseResponse | Finding:
    async with open_channel(address, tls) as channel:
        stub: AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(channel)
        try:
            return await stub.Diagnose(admin_pb2.DiagnoseRequest(namespace=namespace), timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                message = "It answers, and is too old to be asked more."
                return Finding("warning", address, "coordinator", message, "Upgrade it.")
            return Finding(
                "problem",
                address,
                "coordinator",
                f"It cannot be asked: {reason_of(error)}.",
                "Is the address right, and is a coordinator running there? (aiki server --listen …)",
            )


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "WHERE", "WHAT", "FOUND", "WHAT TO DO"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        colour = COLOURS[finding.severity]
        table.add_row(
            f"[{colour}]{finding.severity}[/]",
            finding.where,
            finding.subject,
            finding.message,
            finding.advice,
        )
    return table
