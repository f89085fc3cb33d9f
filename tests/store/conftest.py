"""Store tests run against a real Valkey."""

from tests.support.store import embedded_store, store, store_url

__all__ = ["embedded_store", "store", "store_url"]
