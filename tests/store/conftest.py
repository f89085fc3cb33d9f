"""Store tests run against a real Valkey."""

from tests.support.store import embedded_store, store, store_address, store_url

__all__ = ["embedded_store", "store", "store_address", "store_url"]
