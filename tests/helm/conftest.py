"""The chart is tested by `make test-helm`, which says where its tools are: there is nothing to render with otherwise."""

import os

collect_ignore_glob = [] if "AIKI_HELM_TOOLS" in os.environ else ["test_*.py"]
