"""Where the suites keep what they found: ``results.json``, a key a suite, and ``results.md``, their tables one after the other."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def keep(suite: str, record: Mapping[str, Any], table: str, folder: Path = HERE) -> None:
    """Put a suite's findings in the place of its earlier ones, and leave those of the others.

    Parameters
    ----------
    suite
        The key in ``results.json``.
    record
        What was measured, for programs.
    table
        The same for readers: Markdown that begins with a heading of the second level.
    """
    path = folder / "results.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[suite] = {**record, "table": table.strip()}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    tables = [known[name]["table"] for name in sorted(known)]
    (folder / "results.md").write_text("\n\n".join(["# What was measured", *tables]) + "\n", encoding="utf-8")


def spread(values: Sequence[float], form: str = "{:,.1f}") -> str:
    """The median, and between what the values lie."""
    low, middle, high = (form.format(of(values)) for of in (min, statistics.median, max))
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of packages; empty where one is not installed."""
    return {package: _version(package) for package in packages}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
