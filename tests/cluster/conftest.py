"""These tests start servers of Debian's packages, so only `make test-cluster` runs them."""

import os

collect_ignore_glob = [] if os.environ.get("AIKI_TEST_CLUSTER") else ["test_*.py"]
