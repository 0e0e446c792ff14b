"""Summary: what the page needs of a trial, small enough to be kept in the repository."""

from __future__ import annotations

import platform
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any, Final

from tests.conformance.runner import Trial

_NUMBERS: Final = re.compile(r"\d+")


def summary(trial: Trial) -> dict[str, Any]:
    """Counts, and what was short of them: check → way → why."""
    raised = Counter(
        " < ".join(refused["raised"])
        for one in trial.results.values()
        for refused in one.get("refused", {}).values()
    )
    found: dict[str, dict[str, dict[str, str]]] = {
        "failed": defaultdict(dict),
        "cannot": defaultdict(dict),
    }
    for way, one in trial.results.items():
        for kind, checks in found.items():
            for check, why in one.get(kind, {}).items():
                checks[check][way] = _without_numbers(why) if kind == "failed" else why
    if trial.strays:
        found["failed"]["counted"]["afterwards"] = f"{trial.strays} rows that belong to no way"
    if trial.trouble:
        found["failed"]["ended"]["all ways"] = _without_numbers(trial.trouble.splitlines()[-1])
    return {
        **found,
        "ways": len(trial.results),
        "raised": dict(raised),
        "notes": {way: one["note"] for way, one in trial.results.items() if one.get("note")},
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
    }


def _without_numbers(why: str) -> str:
    """Ids and times out of a message of an error, which change from run to run."""
    text = why.split("; resets")[0]
    return text if len(text) < 160 else _NUMBERS.sub("…", text[:160]) + "…"
