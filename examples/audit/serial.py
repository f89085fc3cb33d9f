"""The audit as a plain program, without Aiki: what the durable one must equal."""

import base64
import csv
import hashlib
import sys
from pathlib import Path


def verify(record: Path) -> tuple[int, int, list[str]]:
    files, size, mismatches = 0, 0, []
    site = record.parent.parent
    for name, digest, length in csv.reader(record.read_text(encoding="utf-8").splitlines()):
        if not digest:
            continue
        algorithm, _, expected = digest.partition("=")
        try:
            data = (site / name).read_bytes()
        except OSError as error:
            mismatches.append(f"{name}: {error.strerror}")
            continue
        files, size = files + 1, size + len(data)
        found = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b"=").decode()
        if found != expected or (length and int(length) != len(data)):
            mismatches.append(f"{name}: changed since it was installed")
    return files, size, mismatches


def audit(site: Path) -> dict[str, object]:
    results = [verify(record) for record in sorted(site.glob("*.dist-info/RECORD"))]
    files, size = sum(result[0] for result in results), sum(result[1] for result in results)
    mismatches = sorted(line for result in results for line in result[2])
    return {"distributions": len(results), "files": files, "bytes": size, "mismatches": mismatches}


if __name__ == "__main__":
    print(audit(Path(sys.argv[1])))
