"""Protocol tests run a coordinator in the test's process, on a real store and a real port."""

from tests.support.store import embedded_store, store, store_address, store_url

__all__ = ["embedded_store", "store", "store_address", "store_url"]
