"""``python -m otel_atm``: the command line, where the script ``otel-atm`` is not on the path."""

from otel_atm.cli import main

if __name__ == "__main__":
    main(prog_name="otel-atm")
