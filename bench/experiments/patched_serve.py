"""`fastgw serve` with other constants than the code's.

`python -m bench.experiments.patched_serve MODULE:NAME=VALUE ...`, VALUE a Python literal.
What is a constant was decided once, with figures; this is how the figures of the other choice are had.
`open_files=N` sets the limit of open files, hard and soft, as an operator's system may.
"""

from __future__ import annotations

import ast
import resource
import sys
from importlib import import_module

from fastgw.cli import main


def patch(change: str) -> None:
    """One `MODULE:NAME=VALUE`. Raises AttributeError if there is no such constant."""
    where, _, value = change.partition("=")
    if where == "open_files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))
        return
    module_name, _, name = where.partition(":")
    module = import_module(module_name)
    getattr(module, name)
    setattr(module, name, ast.literal_eval(value))


if __name__ == "__main__":
    for one in sys.argv[1:]:
        patch(one)
    sys.argv[1:] = ["serve"]
    main()
