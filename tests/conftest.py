"""What every test shares: how Hypothesis searches, and that Ctrl-C reaches the processes that tests start."""

import os
import signal

from hypothesis import settings

# On CI the examples are the same in each run: a red build says that a change broke something.
settings.register_profile("aiki", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("aiki")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has it ignored, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
