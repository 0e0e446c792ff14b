"""This machine: tokenizers by the files that are on it, where nobody says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping

from otel_atm.tokenizers.files import Files, files_of, folder_of
from otel_atm.tokenizers.local import Local, StandIn, Vocabularies
from otel_atm.tokenizers.registry import Tokenizers
from otel_atm.trouble import Trouble


def standard(
    folder: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    trouble: Trouble | None = None,
) -> Tokenizers:
    """Tokenizers by the files that are on this machine; estimates where there are none.

    Making them reads nothing; a file is loaded when a model of it is first counted. The network is
    never used.

    Args:
        folder: where to look for files first, by the names that their publishers have for them.
        environ: that says where else to look. None: the process's.
        trouble: counts what fails.

    Raises:
        ConfigurationError: there is no such folder, or ``ATM_TIKTOKEN_DIR`` names none.
    """
    files = files_of(os.environ if environ is None else environ)
    if folder is not None:
        files = Files((folder_of("folder", folder), *files.folders))
    vocabularies = Vocabularies(files)
    tokenizers = Tokenizers(trouble)
    tokenizers.register(StandIn(vocabularies))
    tokenizers.register(Local(vocabularies))
    return tokenizers
