"""scores.csv and scores.json: what they hold, and that equal scores make equal bytes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from pellucid.errors import DataError, OutputExistsError
from pellucid.evaluation.files import from_json, to_csv, to_json, write_scores
from pellucid.evaluation.judging.judging import judged
from pellucid.evaluation.plain import made as made_of
from pellucid.evaluation.plain import plain
from pellucid.evaluation.plan import EvaluationPlan
from tests.evaluation.made_scores import made, with_primary

PLAN = EvaluationPlan()


def judge(measured):
    return judged(measured, PLAN, planned=False, plan_digest=PLAN.digest)


@pytest.fixture(scope="module")
def found():
    scores = made(patients=30)
    column = scores.values["label"]["good"]["pointing_game"].copy()
    column[5] = np.nan
    return judge(with_primary(scores, "good", column))


def test_both_files_are_written(found, tmp_path):
    paths = write_scores(found, tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.json"]
    assert [one.read_bytes() for one in paths] == [to_csv(found), to_json(found)]


def test_neither_is_written_where_one_is_there(found, tmp_path):
    (tmp_path / "scores.json").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_scores(found, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["scores.json"]
    write_scores(found, tmp_path, overwrite=True)
    assert (tmp_path / "scores.json").read_bytes() == to_json(found)


def test_the_table_has_the_scores(found):
    lines = list(csv.DictReader(io.StringIO(to_csv(found).decode())))
    assert len(lines) == 2 * 6 * 30
    for line, one in zip(lines, found.scores, strict=True):
        assert (line["image"], line["method"], line["target"]) == (one["image"], one["method"], one["target"])
        for metric in ("pointing_game", "iou", "deletion_auc(baseline=blur)"):
            assert line[metric] == ("" if np.isnan(one[metric]) else str(one[metric]))
    gap = [line for line in lines if (line["method"], line["target"], line["pointing_game"]) == ("good", "label", "")]
    assert len(gap) == 1


def test_names_are_kept_and_are_no_formulas():
    scores = made(patients=20)
    names = ['größe, "1".png', "=SUM(A1)", "a\nb", "\udc80.png"]
    images = [replace(one, name=names[index % 4] + str(index)) for index, one in enumerate(scores.images)]
    found = judge(replace(scores, images=images))
    lines = list(csv.reader(io.StringIO(to_csv(found).decode(), newline="")))
    cells = [line[0] for line in lines[1:5]]
    assert cells == ['größe, "1".png0', "'=SUM(A1)1", "a\nb2", "\\udc80.png3"]
    rows = json.loads(to_json(found))["scores"]["rows"]
    assert [row[0] for row in rows[:4]] == ['größe, "1".png0', "=SUM(A1)1", "a\nb2", "\udc80.png3"]


def test_the_json_has_all_that_was_found(found):
    content = json.loads(to_json(found), parse_constant=pytest.fail)  # no NaN in it
    assert set(content) == set(type(found).__dataclass_fields__) - {"failures"}  # these have paths
    assert content["flow"]["excluded"] == {"no mask": ["x.png", "y.png"], "cannot be read": ["z.png"]}
    good = content["rows"][0]
    assert (good["method"], good["verdict"]["claim"]) == ("good", str(found.rows[0].verdict.claim))
    assert (
        good["figures"]["label"]["pointing_game"]["estimate"]
        == found.rows[0].figures["label"]["pointing_game"].estimate
    )
    assert content["gates"]["good"]["smprt"]["low"] is None
    assert content["planned"] is False
    table = content["scores"]
    assert table["columns"] == list(found.scores[0])
    assert len(table["rows"]) == len(found.scores)


def test_what_was_read_is_what_was_written(found):
    again = from_json(to_json(found))
    assert to_json(again) == to_json(found)
    assert again.plan == found.plan
    assert again.flow == found.flow
    assert [(one.method, one.verdict and one.verdict.claim) for one in again.rows] == [
        (one.method, one.verdict and one.verdict.claim) for one in found.rows
    ]
    assert str(again.rows[0].verdict) == str(found.rows[0].verdict)
    assert np.isnan(again.gates["good"]["smprt"].low)
    assert again.quality == found.quality
    assert list(again.rows[0].figures["label"]) == list(found.rows[0].figures["label"])  # in their order


def test_a_plan_of_a_file_keeps_its_digest(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("seed = 1")
    plan = EvaluationPlan.of(path)
    found = judged(made(), plan, planned=True, plan_digest=plan.digest)
    assert from_json(to_json(found)).plan.digest == plan.digest


def test_equal_scores_make_equal_bytes():
    assert to_json(judge(made(patients=20))) == to_json(judge(made(patients=20)))
    assert to_json(judge(made(patients=20))) != to_json(judge(made(patients=20, seed=1)))


def test_another_process_makes_the_same_bytes():
    """Its sets and dictionaries of texts are hashed with another seed."""
    code = (
        "import sys\n"
        "from tests.evaluation.test_scores_files import judge, made\n"
        "from pellucid.evaluation.files import to_json\n"
        "sys.stdout.buffer.write(to_json(judge(made(patients=20))))"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    run = subprocess.run([sys.executable, "-c", code], env=env, cwd=root, capture_output=True, check=True)
    assert run.stdout == to_json(judge(made(patients=20)))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b'{"scores": 1}', b'{"scores": {"columns": ["a"], "rows": [[1, 2]]}}', b"[" * 100_000],
    ids=["empty", "list", "object", "bytes", "number", "lengths", "deep"],
)
def test_what_is_no_scores_file_is_one_line(content):
    with pytest.raises(DataError, match="that pellucid did not write"):
        from_json(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.pop("flow"), "an Evaluation|a Evaluation was read without .*flow"),
        (lambda one: one.update(more=1), "was read with 'more'"),
        (lambda one: one["flow"].update(given="1"), "a value of type int was expected, str was read"),
        (lambda one: one["flow"].update(given=True), "a value of type int was expected, bool was read"),
        (lambda one: one["rows"][0]["verdict"].update(claim="best"), "a value of type Claim was expected"),
        (lambda one: one.update(rows={}), "was expected, dict was read"),
        (lambda one: one["quality"][0]["roc"].append([0.5]), "was expected, list was read"),
    ],
    ids=["missing", "more", "text", "bool", "claim", "mapping", "pair"],
)
def test_another_content_is_refused(found, change, message):
    content = json.loads(to_json(found))
    change(content)
    with pytest.raises(DataError, match=message):
        from_json(json.dumps(content).encode())


def test_plain_values():
    @dataclass(frozen=True)
    class Point:
        x: float
        name: str | None = None

    assert plain(Point(float("inf"))) == {"x": None, "name": None}
    assert plain({"a": {3, 1, 2}, 1: np.arange(2), "p": PurePosixPath("a/b"), "b": True}) == {
        "a": [1, 2, 3], "1": [0, 1], "p": "a/b", "b": True,
    }  # fmt: skip
    assert made_of(float, 1) == 1.0
    for value in (object(), b"bytes", 1j):
        with pytest.raises(DataError, match="cannot be written as JSON"):
            plain([value])
