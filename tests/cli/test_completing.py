"""Shell completion: what it offers is what exists, and no shell waits for torch."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torchvision
from typer.testing import CliRunner

import pellucid as library
from pellucid.cli.completing import DEVICES
from pellucid.cli.main import app
from pellucid.core.catalogue import PRIORS
from pellucid.core.head import HEADS
from pellucid.export import exporters
from pellucid.io.window import PRESETS
from tests.cli.conftest import ROOT

VIDEO = torchvision.models.list_models(module=torchvision.models.video)


def completed(words: str) -> list[str]:
    """What bash is offered for the last word."""
    count = len(words.split(" ")) - 1
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(count), "_PELLUCID_COMPLETE": "complete_bash"}
    done = CliRunner().invoke(app, [], env=variables, prog_name="pellucid")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pellucid ex", ["explain"]),
        ("pellucid explain --dev", ["--device"]),
        ("pellucid explain --method ", [*library.available_methods(), *PRIORS.names()]),
        ("pellucid tune --method gradcam-", ["gradcam-elementwise"]),
        ("pellucid explain --export ", exporters()),
        ("pellucid explain --export png,np", ["png,npz"]),
        ("pellucid explain --head ", ["auto", *HEADS]),
        ("pellucid explain --device ", list(DEVICES)),
        ("pellucid explain --window l", [name for name in PRESETS if name.startswith("l")]),
        ("pellucid explain --select ti", ["time="]),
        ("pellucid explain --model t", ["timm:", "torchvision:"]),
        ("pellucid layers timm:", [f"timm:{name}" for name in sorted(timm.list_models())]),
        ("pellucid layers torchvision:r2", [f"torchvision:{name}" for name in VIDEO if name.startswith("r2")]),
        ("pellucid layers torchvision:resnet1", [f"torchvision:resnet{depth}" for depth in (101, 152, 18)]),
        ("pellucid layers other:", []),
        ("pellucid explain --checkpoint b", []),  # the shell offers files then
    ],
)
def test_what_is_offered(words: str, offered: list[str]) -> None:
    assert completed(words) == offered


def test_every_classifier_of_torchvision_is_offered() -> None:
    offered = set(completed("pellucid layers torchvision:"))
    known = {*torchvision.models.list_models(module=torchvision.models), *VIDEO}
    assert offered == {f"torchvision:{name}" for name in known}


def test_no_option_is_offered_with_a_placeholder() -> None:
    variables = {"_TYPER_COMPLETE_ARGS": "pellucid explain --", "_PELLUCID_COMPLETE": "complete_zsh"}
    done = CliRunner().invoke(app, [], env=variables, prog_name="pellucid")
    shown = " ".join(done.stdout.split())
    assert "{" not in shown
    assert ", ".join(HEADS) in shown


def typed(keys: str, home: Path) -> str:
    """What an interactive bash shows when keys are pressed, up to an echoed END."""
    shell, terminal = pty.openpty()
    variables = {"HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}", "PS1": "", "TERM": "dumb"}
    bash = subprocess.Popen(
        ["bash", "--rcfile", home / ".bashrc", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, **variables},
        start_new_session=True,
    )
    os.write(shell, f"{keys}\necho E''ND; exit\n".encode())
    os.close(terminal)
    shown = b""
    while b"END" not in shown:
        shown += os.read(shell, 4096)
    bash.wait(60)
    os.close(shell)
    return shown.decode()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_tab_key_in_bash(tmp_path: Path) -> None:
    """After --install-completion and with the line of the guide, without which a colon ends the word."""
    program = tmp_path / "pellucid"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pellucid "$@"\n')
    program.chmod(0o755)
    line = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}"
    assert f"\n{line}\n" in (ROOT / "docs" / "guide.md").read_text()
    (tmp_path / ".bashrc").write_text(f"{line}\n")
    assert "bash completion installed in" in typed("pellucid --install-completion", tmp_path)
    # Each word is completed where the key is pressed.
    shown = typed("pellucid expl\t--method hire\t\x01echo \n", tmp_path)
    assert "pellucid explain --method hirescam" in shown
    assert "torchvision:resnet34" in typed("pellucid layers torchvision:resnet3\t\x01echo \n", tmp_path)


def test_completion_loads_no_torch() -> None:
    code = (
        "import atexit, sys; from pellucid.cli.main import run\n"
        "atexit.register(lambda: print('torch' in sys.modules)); run()"
    )
    variables = {
        "COMP_WORDS": "pellucid layers timm:vit_tiny_patch16_2",
        "COMP_CWORD": "2",
        "_PELLUCID_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **variables}
    )
    assert done.stdout.split() == ["timm:vit_tiny_patch16_224", "False"]
