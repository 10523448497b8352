"""What the tests of reading share: a refusal's text, and the choices that it names."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable

import pytest
import typer.main

from pellucid.cli.main import app
from pellucid.cli.wording import as_options, spoken
from pellucid.errors import ImageError
from pellucid.io.selection import parsed_options

UID = re.compile(r"\d+(\.\d+){5,}")
"""No message quotes the UID of a series: it identifies a study."""


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        read()
    assert "\n" not in str(caught.value)
    assert not UID.search(re.sub(r"^cannot read \\S+: ", "", str(caught.value)))
    return str(caught.value)


def remedies(message: str) -> tuple[dict[str, str], dict[str, str]]:
    """The choices that a message names: on the command line, and in the library."""
    with spoken(typer.main.get_command(app).commands["explain"].params):
        options = shlex.split(re.search(r"give (--select .*?); there are", as_options(message))[1])
    return parsed_options(options[1::2]), ast.literal_eval(re.search(r"select=(\{.*?\})", message)[1])
