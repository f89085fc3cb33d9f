"""`python -m examples.audit`: exit status 0 when the durable audit equals the plain one."""

import argparse
import asyncio
import sys
import sysconfig
import tempfile
from pathlib import Path

from rich.console import Console

from examples.audit.demo import run_demo, tampered_site


def main() -> int:
    """Audit an environment; with `--tamper`, a scratch one in which a byte was changed."""
    parser = argparse.ArgumentParser(prog="python -m examples.audit", description=__doc__)
    site = Path(sysconfig.get_paths()["purelib"])
    parser.add_argument(
        "site", type=Path, nargs="?", default=site, help="a site-packages folder (default: our own)"
    )
    parser.add_argument("--tamper", action="store_true", help="audit a scratch copy with one changed byte")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="aiki-audit-") as folder:
        if not options.tamper:
            return 0 if asyncio.run(run_demo(options.site, Path(folder), console)) else 1
        with tampered_site(options.site) as scratch:
            return 0 if asyncio.run(run_demo(scratch, Path(folder), console)) else 1


if __name__ == "__main__":
    sys.exit(main())
