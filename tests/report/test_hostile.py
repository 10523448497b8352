"""Metadata that anybody may have written: what is no metadata is passed over, and texts stay texts."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.export.earlier import MAX_BYTES
from pellucid.report import reading, write_index
from pellucid.report.maps import Map
from pellucid.report.reading import read_maps
from pellucid.report.table import columns
from tests.report.test_index import Page, page_of, rows_of

SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x"
WHOLE = {
    "image": "in/scan.png",
    "image_sha256": "ab" * 32,
    "method": "gradcam",
    "layers": ["layer4"],
    "target_class": 1,
    "target_name": "nodule",
    "target_probability": 0.75,
    "target_logit": 1.5,
    "prediction": {
        "predicted_class": 1,
        "top_k_classes": [1, 0],
        "top_k_names": ["nodule", "normal"],
        "top_k_probs": [0.75, 0.25],
        "head": "softmax",
        "probabilities": [0.25, 0.75],
        "class_names": ["normal", "nodule"],
    },
    "evidence": 0.5,
    "degenerate": "constant",
    "checks": {"blur_fall": 2.0},
    "grade": {"text": "blurring the marked 2 %", "worth": "not measured"},
    "peak": {"row": 3, "column": 4},
    "shape": [8, 9],
    "overlay": "scan_overlay.png",
    "files": ["scan_overlay.png"],
    "model": {"spec": "own.py:make"},
    "image_provenance": {},
    "provenance": {"share": 0.9, "options": {"steps": 4}, "versions": {"pellucid": "0.1.0"}},
    "labels": {"label": "nodule", "patient": "P1", "split": "test"},
    "warnings": ["a warning"],
    "key": "12" * 16,
}


def put(folder: Path, name: str = "scan", **more: object) -> Path:
    path = folder / f"{name}_metadata.json"
    path.write_text(json.dumps(WHOLE | more), encoding="utf-8")
    return path


def everywhere(value: object, text: str) -> object:
    """The metadata with a text in every place that holds one."""
    if isinstance(value, dict):
        return {key: everywhere(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [everywhere(each, text) for each in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize(
    "text",
    [SCRIPT, "a&lt b&#60script&#62 &copy", "{{ 7 * 7 }}{% raw %}", "\u202egnp.exe", "x\ny\x00z\x1b[0m", "\udcff\ud800"],
)
def test_texts_are_texts_wherever_they_stand(tmp_path: Path, text: str) -> None:
    put(tmp_path, **everywhere(WHOLE, text))
    put(tmp_path, "second", **everywhere(WHOLE, f"{text}2"))
    harmless = tmp_path / "harmless"
    harmless.mkdir()
    put(harmless, **everywhere(WHOLE, "text"))
    put(harmless, "second", **everywhere(WHOLE, "text2"))
    write_index(harmless, failed={"text": "text"})
    expected = [(tag, sorted(attributes)) for tag, attributes in page_of(harmless).elements]
    for path in harmless.iterdir():
        path.unlink()
    write_index(tmp_path, failed={text: text})
    page = page_of(tmp_path)
    assert [(tag, sorted(attributes)) for tag, attributes in page.elements] == expected
    shown = text.encode("utf-8", "backslashreplace").decode().replace("\x00", r"\x00").replace("\x1b", r"\x1b")
    assert shown in "".join(page.text)
    assert rows_of(tmp_path)[0]["class_name"] == shown


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "a;=1", "a\n=1", "a\r@x", "=cmd|'/C calc'!A0"]
)
def test_no_text_is_a_formula(tmp_path: Path, text: str) -> None:
    put(tmp_path, **(everywhere(WHOLE, text) | {"target_logit": -1.5}))
    write_index(tmp_path, failed={text: text})
    content = (tmp_path / "results.csv").read_bytes().decode()
    for delimiter in ",;\t":
        for row in csv.reader(content.splitlines(), delimiter=delimiter):
            assert not any(cell.lstrip().startswith(("=", "+", "@")) for cell in row)
            assert not any(cell.lstrip().startswith("-") and not _is_number(cell) for cell in row)
    assert rows_of(tmp_path)[0]["logit"] == "-1.5"
    with (tmp_path / "failed.csv").open(encoding="utf-8", newline="") as file:
        assert not list(csv.reader(file))[1][0].lstrip().startswith(("=", "+", "-", "@"))


def _is_number(cell: str) -> bool:
    try:
        float(cell.partition(",")[0])
    except ValueError:
        return False
    return True


def test_other_texts_are_unchanged(tmp_path: Path) -> None:
    text = "naïve; \"quoted\", 'single', a-b, a=b, e@f, 語 " + "\U0001fac1"
    put(tmp_path, target_name=text)
    write_index(tmp_path)
    assert rows_of(tmp_path)[0]["class_name"] == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b'{"image": 3, "method": "gradcam"}',
        b'{"image": "a.png"}',
        b'{"image": "", "method": ""}',
        b"\xff\xfe\x00",
        b'{"image": "a.png", "method": "gradcam", "x": ' + b"[" * 100_000,
        b'{"image": "a.png", "method": "gradcam", "target_class": ' + b"9" * 10_000 + b"}",
        b'{"image": "a.png", "method": "' + b"x" * MAX_BYTES + b'"}',
    ],
    ids=range(11),
)
def test_what_is_no_metadata_is_listed(tmp_path: Path, content: bytes) -> None:
    put(tmp_path)
    (tmp_path / "bad_metadata.json").write_bytes(content)
    write_index(tmp_path)
    page = page_of(tmp_path)
    assert len(page.cards()) == 1
    assert "1 metadata file could not be read" in page.text
    assert "bad_metadata.json" in page.text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([1e308, -1, 2**70, "../x", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(sorted({*WHOLE, "row", "head"})), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(set(WHOLE) - {"image", "method"})), JSON, max_size=6))
def test_values_of_any_type_are_read(tmp_path_factory: pytest.TempPathFactory, more: dict[str, object]) -> None:
    folder = tmp_path_factory.mktemp("any")
    put(folder, **more)
    files = write_index(folder)
    assert [path.name for path in files] == ["index.html", "results.csv"]
    Page(files[0].read_text(encoding="utf-8"))
    (row,) = rows_of(folder)
    for column in columns(read_maps(folder)[0]):
        if row[column.name] and column.kind is not str:
            assert (
                row[column.name] in ("true", "false")
                if column.kind is bool
                else column.kind(row[column.name]) is not None
            )
            assert row[column.name] not in ("nan", "inf", "-inf")


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/passwd", "sub/scan.png", "..", ".", "", "link.png", "pipe", "a\x00b", "\ud800", "x" * 5000],
)
def test_only_files_beside_the_metadata_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "scan.png").write_bytes(b"x")
    (out / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(out / "pipe")
    put(out, overlay=name, files=[name])
    write_index(out)
    assert [each.get("href") for each in page_of(out).all("a")] == ["results.csv", "#settings-1"]
    assert not list(page_of(out).all("img"))
    assert rows_of(out)[0]["overlay"] == ""


def test_a_file_whose_name_is_a_script_is_linked_as_a_file(tmp_path: Path) -> None:
    for name in ("javascript:alert(1)_overlay.png", "a b#c?d%20é_overlay.png", "\udcff_overlay.png"):
        (tmp_path / name).write_bytes(b"x")
        put(tmp_path, overlay=name, files=[name])
        write_index(tmp_path)
        quoted = next(each["href"] for each in page_of(tmp_path).all("a") if "overlay" in each["href"])
        assert set(quoted) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~%/")


def test_links_and_hidden_folders_are_not_read(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    for folder in (out, other, out / ".hidden"):
        folder.mkdir()
        put(folder, image=f"{folder.name}.png")
    (out / "linked").symlink_to(other)
    (out / "linked_metadata.json").symlink_to(other / "scan_metadata.json")
    os.mkfifo(out / "pipe_metadata.json")
    maps, unread = read_maps(out)
    assert [one.image for one in maps] == ["out.png"]
    assert unread == ["linked_metadata.json", "pipe_metadata.json"]


def test_long_texts_are_cut_and_many_are_few(tmp_path: Path) -> None:
    big = {f"{number}": "y" * 2000 for number in range(200)}
    put(
        tmp_path,
        target_name="x" * 200_000,
        warnings=["w" * 5000] * 100,
        layers=["l"] * 5000,
        checks={f"c{number}": 1.0 for number in range(5000)},
        provenance={"options": big, "versions": big},
        image_provenance={"preprocessing": big},
    )
    write_index(tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 400_000
    assert len(rows_of(tmp_path)[0]) < 100


def test_a_thumbnail_is_taken_from_a_whole_png_only(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    from pellucid.render.encoding import png, read_thumbnail, thumbnail

    image = Pillow.new("RGB", (300, 200), (200, 30, 30))
    content = png(image, thumbnail(image, (300, 200)))
    path = tmp_path / "scan_overlay.png"
    path.write_bytes(content)
    assert read_thumbnail(path).startswith(b"\xff\xd8\xff")
    changed = bytearray(content)
    changed[60] ^= 1
    huge = content[:33] + b"\xff\xff\xff\xff" + content[37:]
    no_jpeg = png(image, b"<svg onload=alert(1)>")
    for bad in (bytes(changed), huge, no_jpeg, content[:50], b"", b"GIF89a" + content[6:], png(image)):
        path.write_bytes(bad)
        assert read_thumbnail(path) == b""
    put(tmp_path)
    write_index(tmp_path)
    (small, large) = page_of(tmp_path).all("img")
    assert small["src"] == large["src"] == "scan_overlay.png"


def test_a_thousand_files_take_no_time(tmp_path: Path) -> None:
    for number in range(1000):
        put(tmp_path, f"scan-{number}", image=f"in/scan-{number}.png", image_sha256=f"{number}")
    start = time.process_time()
    write_index(tmp_path)
    assert time.process_time() - start < 5
    assert len(page_of(tmp_path).cards()) == 1000


def test_an_unreadable_list_of_failures_is_left_out(tmp_path: Path) -> None:
    put(tmp_path)
    for content in (b"image,error\r\n\xff\xfe,x\r\na\r\n" + b'"' + b"x" * 200_000, b"image,error\r\n"):
        (tmp_path / "failed.csv").write_bytes(content)
        write_index(tmp_path)
        assert len(page_of(tmp_path).cards()) == 1


def test_a_map_of_nothing_but_its_names(tmp_path: Path) -> None:
    (tmp_path / "a_metadata.json").write_text('{"image": "a.png", "method": "mine"}')
    assert read_maps(tmp_path)[0][0] == Map(
        "a.png", "mine", Path(), source=read_maps(tmp_path)[0][0].source, settings=(("method", "mine"),)
    )
    write_index(tmp_path)
    assert "no prediction" in page_of(tmp_path).text


def test_the_number_of_files_that_are_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MAX_FILES", 2)
    for name in "abc":
        (tmp_path / f"{name}_metadata.json").write_text("{}")
    assert reading.read_maps(tmp_path)[1] == ["a_metadata.json", "b_metadata.json"]
