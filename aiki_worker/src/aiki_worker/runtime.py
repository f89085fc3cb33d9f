"""What runs workflow code here: runs record it, because another minor version may order things otherwise."""

from __future__ import annotations

import sys


def runtime() -> str:
    """Such as "python 3.11"."""
    return f"{sys.implementation.name.replace('cpython', 'python')} {sys.version_info.major}.{sys.version_info.minor}"
