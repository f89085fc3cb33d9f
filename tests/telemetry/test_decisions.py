"""Whether a run is traced is decided where it starts, by the caller's trace or else by the standard sampler."""

import subprocess
import sys
from pathlib import Path

import pytest

from aiki_server.core.traces import SpanRef, own_trace, run_span, start_span
from aiki_server.telemetry.tracing import Traces

RUN = "3-00112233445566778899"
ROOT = Path(__file__).parents[2]
CALLER = f"00-{'a' * 32}-{'b' * 16}-"


def _decided(parent: str = "", link: str = "") -> SpanRef | None:
    return SpanRef.parse(Traces("test").begin(RUN, "purchase", parent=parent, link=link).traceparent)


def test_a_run_that_nobody_traces_begins_a_trace() -> None:
    """Its own span is the topmost."""
    assert _decided() == SpanRef(own_trace(RUN), run_span(RUN), sampled=True)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_the_callers_trace_decides(flags: str) -> None:
    """And its span is above the run's."""
    assert _decided(CALLER + flags) == SpanRef.parse(CALLER + flags)


@pytest.mark.parametrize("flags", ["00", "01"])
def test_what_a_run_follows_from_decides_too(flags: str) -> None:
    """The run is in a trace of its own."""
    assert _decided(link=CALLER + flags) == SpanRef(own_trace(RUN), run_span(RUN), sampled=flags == "01")


def test_the_sampler_decides_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OTEL_TRACES_SAMPLER says, not as the caller did, where that is what it means."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    assert _decided() == SpanRef(own_trace(RUN), run_span(RUN), sampled=False)
    assert _decided(CALLER + "01") == SpanRef.parse(CALLER + "01")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert _decided(CALLER + "01") == SpanRef.parse(CALLER + "00")


def test_turned_off_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's trace is passed on."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert _decided() is None
    assert _decided(CALLER + "01") == SpanRef.parse(CALLER + "01")


def test_a_coordinator_that_exports_puts_the_start_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since it makes a span of that."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    assert _decided() == SpanRef(own_trace(RUN), start_span(RUN), sampled=True)
    assert _decided(CALLER + "00") == SpanRef.parse(CALLER + "00")


def test_the_picture_is_fresh() -> None:
    """It is drawn from the trace that is beside it."""
    subprocess.run([sys.executable, ROOT / "docs/draw-trace", "--check"], check=True)


def test_authors_modules_do_without_opentelemetry() -> None:
    """Nor does the client import it, where the program has not."""
    program = "import sys, aiki_sdk; aiki_sdk.Client; print('opentelemetry' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"
