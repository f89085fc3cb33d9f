"""Where the spans of a run go: the same whoever makes them, and apart when the run is long."""

import pytest

from aiki.v1 import history_pb2
from aiki_server.core import traces
from aiki_server.rpc.continuing import next_run_of
from aiki_worker import trace_ids
from aiki_worker.trace_ids import SpanRef, place_within

RUN = "3-00112233445566778899"
OWN = SpanRef("ab" * 16, trace_ids.run_span(RUN), sampled=True)


def test_both_sides_derive_the_same_ids() -> None:
    """As docs/protocol.md has them."""
    assert trace_ids.run_span(RUN) == traces.run_span(RUN) == "344b803d36aa8897"
    assert trace_ids.attempt_span(RUN, "task/charge/1", 2) == traces.attempt_span(RUN, "task/charge/1", 2)
    assert trace_ids.later_trace(RUN, 0) == traces.own_trace(RUN)
    assert len({traces.run_span(RUN), traces.start_span(RUN), traces.attempt_span(RUN, "a", 1)}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16,
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
    ],
)
def test_what_is_no_traceparent_is_ignored(text: str) -> None:
    """As W3C Trace Context wants it."""
    assert SpanRef.parse(text) is None
    assert traces.SpanRef.parse(text) is None


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_the_flag_says_whether_the_trace_is_kept(flags: str, sampled: bool) -> None:
    """Other flags mean nothing here."""
    ref = SpanRef.parse(f"00-{'1' * 32}-{'2' * 16}-{flags}")

    assert ref == SpanRef("1" * 32, "2" * 16, sampled)
    assert SpanRef.parse(str(ref)) == ref


def test_the_first_minutes_of_a_run_are_one_trace() -> None:
    """Under the run's own span."""
    place = place_within(RUN, OWN, trace_ids.TOGETHER_MS - 1)

    assert (place.trace_id, place.parent, place.link) == (OWN.trace_id, OWN, None)


def test_what_begins_later_is_linked() -> None:
    """Each later stretch is a trace of its own."""
    second = place_within(RUN, OWN, trace_ids.TOGETHER_MS)
    same = place_within(RUN, OWN, 2 * trace_ids.TOGETHER_MS - 1)
    third = place_within(RUN, OWN, 2 * trace_ids.TOGETHER_MS)

    assert second == same
    assert (second.parent, second.link) == (None, OWN)
    assert len({OWN.trace_id, second.trace_id, third.trace_id}) == 3


def test_a_chain_is_a_trace_for_each_run() -> None:
    """Linked to the one before; whether it is kept goes along."""
    first = history_pb2.RunStarted(workflow_id="w", traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    going_on = history_pb2.RunContinued(version="1")

    event = history_pb2.Event.FromString(next_run_of(RUN, "ns", 4, first, going_on, 1000).mail[0])
    next_id = next_run_of(RUN, "ns", 4, first, going_on, 1000).run_id

    started = event.run_started
    assert started.traceparent == str(
        traces.SpanRef(traces.own_trace(next_id), traces.run_span(next_id), sampled=True)
    )
    assert started.trace_link == f"00-{'1' * 32}-{traces.run_span(RUN)}-01"
