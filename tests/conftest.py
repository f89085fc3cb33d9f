"""What every test shares: how Hypothesis searches."""

import os

from hypothesis import settings

# On CI the examples are the same in each run: a red build says that a change broke something.
settings.register_profile("aiki", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("aiki")
