"""Feed ``read_image`` hostile bytes: an image or a PellucidError, nothing else, and soon.

pip install atheris
python scripts/fuzz_read_image.py CORPUS_FOLDER -max_total_time=600 -timeout=20 -rss_limit_mb=6000
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pellucid.io", "pydicom"]):
    import pydicom.data

    from pellucid.errors import PellucidError
    from pellucid.io import read

PLACE = Path(tempfile.mkdtemp())
ENDINGS = (".dcm", ".png", ".nii", ".nii.gz", "")


def one_input(content: bytes) -> None:
    """The first byte chooses the ending, the others are the file."""
    if len(content) < 2:
        return
    path = PLACE / f"a{ENDINGS[content[0] % len(ENDINGS)]}"
    path.write_bytes(content[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read(path)
        except PellucidError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than a line: {error}") from error
            return
    if not bool(image.pixels.isfinite().all()) or float(image.pixels.min()) < 0 or float(image.pixels.max()) > 1:
        raise AssertionError("pixels outside [0, 1]")


def seeds(folder: Path) -> None:
    """What pydicom ships, and is small, as a corpus to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in pydicom.data.__path__:
        for path in Path(source).rglob("*"):
            if path.is_file() and path.stat().st_size < 2**15 and path.suffix not in (".py", ".pyc"):
                (folder / path.name).write_bytes(b"\0" + path.read_bytes())


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    for name in arguments[:1]:
        if not Path(name).is_dir() or not any(Path(name).iterdir()):
            seeds(Path(name))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
