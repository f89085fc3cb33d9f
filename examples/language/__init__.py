"""Well-known cases, each a small program: its workflows, a `scenario` that plays it, and what comes of it.

`tests/examples` plays each on real processes and then picks its runs up again at every event of their histories.
"""
