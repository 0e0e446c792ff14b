"""Who is in the demo: people, what they ask for, and what they may spend."""

from __future__ import annotations

from typing import Final, NamedTuple

#: The app that all rows of the demo name.
APP: Final = "atm-demo"

#: Days and not minutes: the demo must not run into the next window while somebody watches.
USER_LIMIT: Final = 3_000
TEAM_LIMIT: Final = 4_500
BUDGETS: Final = (
    f"{USER_LIMIT} tokens / day per user",
    f"{TEAM_LIMIT} tokens / day per team",
)


class Task(NamedTuple):
    """Something that a person wants done.

    Attributes:
        name: what the terminal calls it.
        lookups: how often the agent calls its tool before it answers; 0: it streams an answer.
    """

    name: str
    lookups: int

    @property
    def calls(self) -> int:
        """How many calls to a model it takes."""
        return self.lookups + 1


class Person(NamedTuple):
    """Somebody with an agent."""

    name: str
    team: str
    model: str
    tasks: tuple[Task, ...]


CAST: Final = (
    Person(
        "ann",
        "research",
        "gpt-5",
        (
            Task("compare suppliers", 2),
            Task("read the contract", 2),
            Task("draft a memo", 0),
            Task("check the figures", 2),
            Task("sum it all up", 0),
        ),
    ),
    Person(
        "ben",
        "research",
        "gpt-5-mini",
        (Task("collect sources", 2), Task("translate a note", 0)),
    ),
    Person(
        "cleo",
        "support",
        "gpt-5-mini",
        (
            Task("triage ticket 18", 2),
            Task("answer ticket 18", 0),
            Task("triage ticket 21", 2),
            Task("answer ticket 21", 0),
            Task("weekly overview", 0),
        ),
    ),
    Person(
        "dan",
        "support",
        "gpt-5-nano",
        (
            Task("triage ticket 19", 2),
            Task("triage ticket 20", 2),
            Task("answer ticket 20", 0),
            Task("triage ticket 22", 2),
            Task("answer ticket 22", 0),
        ),
    ),
    Person(
        "eve",
        "growth",
        "gpt-5-mini",
        (
            Task("write a headline", 0),
            Task("plan a campaign", 2),
            Task("write a post", 0),
            Task("plan an event", 2),
            Task("write an invitation", 0),
        ),
    ),
)
