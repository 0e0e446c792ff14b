"""The page: what was seen of each emitter, from the summaries of its trials."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from string import Template
from typing import Any, Final

from tests.conformance.catalog import HERE, MODES, ROOT, UNENFORCED, Probe, probes
from tests.conformance.runner import Trial
from tests.conformance.summary import summary

PAGE: Final = ROOT / "docs" / "conformance.md"
_RESULTS: Final = HERE / "results"
_TEMPLATE: Final = HERE / "page.md"
#: Column → the checks that stand in it.
_COLUMNS: Final = {
    "Counted once": ("counted", "charged", "fits"),
    "Tokens as told": ("tokens",),
    "Stopped before the wire": ("blocked", "refused once"),
}


def keep(probe: Probe, trials: Iterable[Trial]) -> None:
    """Keep the summaries of a probe's trials; of modes that were not run, the old ones."""
    file = _RESULTS / f"{probe.name}.json"
    before = json.loads(file.read_text())["modes"] if file.exists() else {}
    modes = {**before, **{trial.mode: summary(trial) for trial in trials}}
    found = {"versions": probe.versions, "modes": modes}
    file.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def kept() -> dict[str, Any]:
    """Probe → what was kept of it."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(_RESULTS.glob("*.json"))}


def write() -> None:
    """Write the page anew."""
    PAGE.write_text(text(kept()))


def text(results: Mapping[str, Any]) -> str:
    """The page that these results make."""
    known = probes()
    shown = {known[name].title: found for name, found in results.items() if name in known}
    shown = dict(sorted(shown.items(), key=lambda item: item[0].lower()))
    names = {known[name].title: name for name in results if name in known}
    enforced = [mode for mode in MODES if mode != UNENFORCED]
    titles = shown.items()
    return Template(_TEMPLATE.read_text()).substitute(
        guarded=_table(
            ("Emitter", "Probe", *_COLUMNS, "The application sees"),
            (
                (title, f"`{names[title]}`", *_cells(found, enforced), _seen(found, enforced))
                for title, found in titles
            ),
        ),
        remarks="\n".join(_remarks(shown, enforced)),
        modes="\n".join(f"- `{mode}`: {MODES[mode]}" for mode in enforced),
        by_mode=_table(
            ("Emitter", *(f"`{mode}`" for mode in enforced)),
            (
                (title, *(_passed(found["modes"].get(mode)) for mode in enforced))
                for title, found in titles
            ),
        ),
        unguarded=_table(
            ("Emitter", "Ways", *_COLUMNS),
            (
                (title, str(found["modes"][UNENFORCED]["ways"]), *_cells(found, [UNENFORCED]))
                for title, found in titles
                if UNENFORCED in found["modes"]
            ),
        ),
        versions="\n".join(
            f"- {title}: {found['versions']}; {_date(found)}" for title, found in titles
        ),
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(found: Mapping[str, Any], modes: Iterable[str]) -> Iterator[str]:
    """For each column: all, or how many of how many."""
    seen = [found["modes"][mode] for mode in modes if mode in found["modes"]]
    ways = sum(one["ways"] for one in seen)
    for checks in _COLUMNS.values():
        short = {
            (mode, way)
            for mode, one in enumerate(seen)
            for check in checks
            for way in (*one["failed"].get(check, ()), *one["cannot"].get(check, ()))
        }
        yield f"all {ways}" if not short else f"{max(0, ways - len(short))} of {ways}"


def _passed(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "—"
    short = {way for kind in ("failed", "cannot") for ways in one[kind].values() for way in ways}
    return f"{max(0, one['ways'] - len(short))} of {one['ways']}"


def _seen(found: Mapping[str, Any], modes: Iterable[str]) -> str:
    """The errors that came out of refused calls, the most frequent first."""
    counts: dict[str, int] = {}
    for mode in modes:
        for chain, count in found["modes"].get(mode, {"raised": {}})["raised"].items():
            counts[chain] = counts.get(chain, 0) + count
    chains = sorted(counts, key=lambda chain: (-counts[chain], chain))
    return "; ".join(_chained(chain) for chain in chains)


def _chained(chain: str) -> str:
    return " ← ".join(f"`{name}`" for name in chain.split(" < ")) if chain else "nothing"


def _remarks(shown: Mapping[str, Any], modes: Iterable[str]) -> Iterator[str]:
    """What cannot be, with the reasons; and what fails, as long as something does."""
    for kind, title in (("cannot", "What cannot be"), ("failed", "What fails today")):
        lines = list(_reasons(shown, list(modes), kind))
        if lines:
            yield from (f"### {title}", "", *lines, "")
    notes = [
        f"- {title}, {way}: {note}"
        for title, found in shown.items()
        for way, note in found["modes"].get("doors", {"notes": {}})["notes"].items()
    ]
    if notes:
        yield from ("### Notes", "", *notes, "")


def _reasons(shown: Mapping[str, Any], modes: list[str], kind: str) -> Iterator[str]:
    for title, found in shown.items():
        said: dict[tuple[str, str], dict[str, list[str]]] = {}
        for mode in modes:
            for check, ways in found["modes"].get(mode, {kind: {}})[kind].items():
                for way, why in ways.items():
                    said.setdefault((check, why), {}).setdefault(way, []).append(mode)
        for (check, why), ways in said.items():
            where = sorted(
                {mode for in_modes in ways.values() for mode in in_modes}, key=modes.index
            )
            told = "" if where == modes else f" ({', '.join(f'`{mode}`' for mode in where)})"
            yield f"- {title}: {check}: {', '.join(ways)}{told}: {why}"


def _date(found: Mapping[str, Any]) -> str:
    return max(str(one["date"]) for one in found["modes"].values())
