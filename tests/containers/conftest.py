"""The containers are tested by `make test-helm`, which says where the tools are."""

import os

collect_ignore_glob = [] if "AIKI_HELM_TOOLS" in os.environ else ["test_*.py"]
