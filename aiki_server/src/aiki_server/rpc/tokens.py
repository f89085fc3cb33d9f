"""Completion tokens: a task attempt's lease as text that is safe in a URL."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from aiki_server.core.runs import LeaseToken


def completion_token(lease: LeaseToken) -> str:
    """What names an attempt to whoever completes it."""
    text = f"{lease.run_id} {lease.epoch} {lease.nonce} {lease.address}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def lease_of(token: str) -> LeaseToken:
    """What `completion_token` was made of.

    Raises:
        ValueError: it was not made by that.
    """
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    run_id, epoch, nonce, address = raw.decode().split(" ", 3)
    return LeaseToken(run_id, address, int(epoch), nonce)
