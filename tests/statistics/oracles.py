"""The values of other libraries, which scripts/statistics_oracles.py wrote."""

from __future__ import annotations

import json
from pathlib import Path

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())
