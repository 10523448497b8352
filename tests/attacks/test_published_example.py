"""The published example runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "pgd_and_maps.py"


def test_the_example_trains_attacks_and_compares(tmp_path):
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, cwd=tmp_path, check=True)
    first, *rest = run.stdout.splitlines()
    right = int(re.match(r"(\d) of 8 new images are classified rightly$", first)[1])
    assert right >= 6
    found = [re.match(r"(spot|ring), now (spot|ring): the maps correlate by (0\.\d\d)$", line) for line in rest]
    assert len(found) == right
    assert all(found)
    assert not list(tmp_path.iterdir())
