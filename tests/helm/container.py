"""Becomes a container: `unshare --mount -- python container.py SPEC.json`.

The root is this machine's, read-only, behind an overlay that the machine never sees; volumes are mounted where the
pod says; the user is the pod's, without any capability. Needs root on Linux.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def overlay(spec: Any) -> Path:
    """A root of our own: what is written to it here is gone with this process."""
    base = Path(tempfile.mkdtemp(dir=spec["folder"]))
    mount("-t", "tmpfs", "tmpfs", str(base))
    root = base / "root"
    for name in ("upper", "work", "root"):
        (base / name).mkdir()
    mount(
        "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={base}/upper,workdir={base}/work", str(root)
    )
    for name in ("proc", "dev", "sys"):
        mount("--rbind", f"/{name}", str(root / name))
    # What the image has is for everybody to read; on this machine it may lie in somebody's home.
    for path in map(Path, spec["readable"]):
        inside = root / path.relative_to("/")
        if path.stat().st_dev != Path("/").stat().st_dev:
            inside.mkdir(parents=True, exist_ok=True)
            mount("--rbind", str(path), str(inside))
        for folder in [inside, *inside.parents]:
            if folder == root:
                break
            folder.chmod(folder.stat().st_mode | 0o055)
    return root


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    root = overlay(spec)
    (root / "etc/hosts").write_text(spec["hosts"], encoding="utf-8")
    for volume in spec["mounts"]:
        inside = root / volume["path"].lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        mount("--bind", volume["source"], str(inside))
        if volume["read_only"]:
            mount("-o", "remount,bind,ro", str(inside))
    # A checkout may lie below a folder that a volume hides, such as /tmp.
    for path in spec["readable"]:
        inside = root / path.lstrip("/")
        if inside.exists():
            continue
        inside.mkdir(parents=True)
        mount("--bind", path, str(inside))
        mount("-o", "remount,bind,ro", str(inside))
    if spec["read_only"]:
        mount("-o", "remount,ro", str(root))
    os.chroot(root)
    os.chdir("/")
    user, groups = spec["user"], f"--groups={spec['fs_group']}"
    os.execvpe(
        "setpriv",
        [
            *("setpriv", f"--reuid={user}", f"--regid={spec['group']}", groups),
            *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *spec["command"]),
        ],
        spec["environment"],
    )


if __name__ == "__main__":
    main()
