"""Placements between the wire and plain values."""

from __future__ import annotations

from aiki.v1 import common_pb2
from aiki_server.core.placement import ANYWHERE, PRIORITY_DEFAULT, Placement, problem


def placement_problem(wire: common_pb2.Placement) -> str:
    """What is wrong with it, for whoever sent it; '' when nothing is."""
    parted = (label.partition("=") for label in (*wire.labels, *wire.prefers))
    return problem(wire.priority, wire.slots, [(key, value) for key, _, value in parted])


def placement_from_wire(wire: common_pb2.Placement, priority: int = PRIORITY_DEFAULT) -> Placement:
    """What it asks for; *priority* where it does not say."""
    if not wire.ByteSize() and priority == PRIORITY_DEFAULT:
        return ANYWHERE
    return Placement(
        priority=wire.priority or priority,
        slots=max(wire.slots, 1),
        labels=tuple(sorted(set(wire.labels))),
        prefers=tuple(sorted(set(wire.prefers))),
    )


def placement_to_wire(placement: Placement) -> common_pb2.Placement:
    """What it asks for, all of it."""
    return common_pb2.Placement(
        priority=placement.priority,
        slots=placement.slots,
        labels=placement.labels,
        prefers=placement.prefers,
    )
