"""A program that makes LLM calls until it is killed: ``python writer.py STORE ACKS SEED``.

It appends the id of each event to ACKS once the span's end has returned, and prints a line after
every few. It drains at random, besides what its store does by itself.
"""

from __future__ import annotations

import random
import sys
from itertools import count

import otel_atm as atm
from tests.program import Program

OFTEN = 20  # events between two lines


def main(store: str, acks: str, seed: int) -> None:
    """Make calls for ever."""
    chance = random.Random(seed)
    processor = atm.TokenSpanProcessor(["1000M tokens / month per user"], store=store)
    program = Program(processor, acks, chance)
    for number in count(1):
        program.call()
        if number % OFTEN == 0:
            print(number, flush=True)  # noqa: T201 - its only way to speak
        if chance.random() < 1 / 200:
            processor.force_flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
