"""Another library reads the objects and finds the same numbers: dcmjs, which OHIF builds on. ``make test-viewer``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.viewer.studies import IN_THE_PATIENT, MODALITIES, study

READER = Path(os.environ.get("PELLUCID_DCMJS", "nowhere"))
pytestmark = pytest.mark.skipif(not READER.is_dir(), reason="dcmjs is not there: make test-viewer")


@pytest.mark.parametrize("modality", MODALITIES)
def test_dcmjs_reads_the_same_numbers(modality: str, tmp_path: Path) -> None:
    one = study(modality, tmp_path / modality)
    objects = {str(made.SOPInstanceUID): (kind, made) for kind, own in one.objects.items() for made in own}
    paths = [path for path in one.files if path.name.startswith("result")]
    command = ["node", str(Path(__file__).with_name("second_reader.mjs")), str(READER), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = {found["sop"]: found for found in json.loads(done.stdout)}
    assert set(seen) == set(objects)
    for uid, (kind, made) in objects.items():
        values = np.asarray(seen[uid]["values"])
        if kind == "sr":
            maps = {other for other, (known, _) in objects.items() if known == "pm"}
            assert maps <= set(seen[uid]["maps"]) <= {other for other, (known, _) in objects.items() if known != "seg"}
            assert len(seen[uid]["maps"]) == (2 if modality in IN_THE_PATIENT else 1)
            assert seen[uid]["probability"] == [pytest.approx(1 / (1 + np.exp(-0.8)), rel=1e-5)]
        elif kind == "sc":
            assert np.array_equal(values.reshape(made.pixel_array.shape), made.pixel_array)
        else:
            expected = one.maps if kind == "pm" else (one.maps >= 0.5 * one.maps.max())
            frames = values[: expected.size].reshape(expected.shape)[np.argsort(seen[uid]["levels"])]
            assert np.array_equal(frames, expected.astype(np.float64)), kind
