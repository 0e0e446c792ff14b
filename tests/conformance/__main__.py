"""`python -m tests.conformance`: probes of emitters, each in its own environment.

Examples:
    python -m tests.conformance                     all probes in all modes
    python -m tests.conformance plain_openai --mode doors
    python -m tests.conformance --part 3/8 --minutes 3
    python -m tests.conformance --write             and docs/conformance.md says what came of it
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from tests.conformance import page
from tests.conformance.catalog import MODES, UNENFORCED, Probe, probes
from tests.conformance.environments import python_of
from tests.conformance.runner import Trial


def main() -> None:
    given = _arguments()
    if given.page:
        page.write()
        return
    known = probes()
    chosen = [known[name] for name in given.probes] or list(known.values())
    if given.part:
        chosen = _part(chosen, *map(int, given.part.split("/")))
    failures, everything = 0, {}
    for probe, trial in _run(chosen, given.mode or list(MODES), given.minutes, given.jobs):
        failures += _show(trial)
        everything[f"{probe.name} {trial.mode}"] = trial.as_json()
        if given.write:
            page.keep(probe, [trial])
    if given.json:
        Path(given.json).write_text(json.dumps(everything, indent=1))
    if given.write:
        page.write()
    sys.exit(failures > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.conformance")
    parser.add_argument(
        "probes", nargs="*", metavar="probe", choices=[*probes(), []], help="all, if none is named"
    )
    parser.add_argument("--mode", action="append", choices=list(MODES), help="all, if none")
    parser.add_argument("--part", metavar="K/N", help="the Kth of N parts, environment by it")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="of trials; none is begun later"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--json", metavar="FILE", help="where to write all that was seen")
    parser.add_argument("--write", action="store_true", help="keep the results, write the page")
    parser.add_argument("--page", action="store_true", help="only write the page")
    return parser.parse_args()


def _part(chosen: list[Probe], number: int, parts: int) -> list[Probe]:
    """Those whose environment falls into a part, counted from 0."""
    environments = sorted({probe.env for probe in chosen})
    mine = environments[number % parts :: parts]
    return [probe for probe in chosen if probe.env in mine]


def _run(
    chosen: list[Probe], modes: list[str], minutes: float, jobs: int
) -> Iterator[tuple[Probe, Trial]]:
    """Each probe in the first mode, then in the next, as long as there is time."""
    python = {env: python_of(env) for env in sorted({probe.env for probe in chosen})}
    deadline = time.monotonic() + 60 * minutes

    def run(pair: tuple[str, Probe]) -> tuple[Probe, Trial] | None:
        mode, probe = pair
        if time.monotonic() > deadline:
            return None
        return probe, Trial(probe.name, mode, python[probe.env]).run()

    with ThreadPoolExecutor(jobs) as pool:
        yield from filter(None, pool.map(run, product(modes, chosen)))


def _show(trial: Trial) -> int:
    """Print a line, and one for each failure; how many of these count."""
    failures = trial.failures
    enforced = trial.mode != UNENFORCED
    good = sum(not one["failed"] for one in trial.results.values())
    verdict = "FAILED" if failures and enforced else "ok" if enforced else "seen"
    print(
        f"{trial.probe:24} {trial.mode:10} {good:3}/{len(trial.results):<3} {verdict}", flush=True
    )
    for failure in failures:
        print(f"    {failure}", flush=True)
    return len(failures) if enforced else 0


if __name__ == "__main__":
    main()
