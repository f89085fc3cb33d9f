"""What the tests of runs do again and again."""

from aiki_server.core.runs import (
    Attention,
    Committed,
    Delivered,
    Effects,
    Fenced,
    Gap,
    LeaseToken,
    RunState,
)
from aiki_server.store import Stores
from tests.support.store import INCARNATION, NAMESPACE

OTHER = "other.session.1"


async def commit(
    store: Stores,
    token: LeaseToken,
    number: int = 1,
    *events: bytes,
    drain: bool = False,
    idle: bool = False,
    closing: RunState | None = None,
    stall: bytes | None = None,
    incarnation: str = INCARNATION,
) -> Committed | Fenced | Gap:
    return await store.runs.commit(
        token=token,
        incarnation=incarnation,
        number=number,
        events=list(events),
        effects=Effects(closing=closing),
        drain=drain,
        idle=idle,
        stall=stall,
        namespace=NAMESPACE,
    )


async def signal(store: Stores, run_id: str, event: bytes, dedupe_id: str = "") -> Attention | None:
    outcome = await store.runs.deliver(
        namespace=NAMESPACE, run_id=run_id, event=event, dedupe_id=dedupe_id or event.decode()
    )
    assert isinstance(outcome, Delivered)
    return outcome.attention


async def history(store: Stores, run_id: str) -> list[bytes]:
    return await store.runs.history(run_id=run_id, first=0, count=1000)


async def state(store: Stores, run_id: str) -> RunState:
    record = await store.runs.get(namespace=NAMESPACE, run_id=run_id)
    assert record is not None
    return record.state
