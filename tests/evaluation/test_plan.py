"""A plan: its file, its digest, and what it refuses."""

from __future__ import annotations

import hashlib

import pytest

from pellucid.errors import MethodError, OptionError
from pellucid.evaluation.naming import metric_of, parts_of, tolerance_of
from pellucid.evaluation.plan import DataFacts, EvaluationPlan
from pellucid.evaluation.plan_file import MAX_BYTES
from pellucid.metrics import IoU

WHOLE = """
primary = "iou(threshold=0.3)"
tolerance = "15 px"
prior = "centre"
margin = 0.05
difference = 1
level = 0.025
methods = ["gradcam", "mine"]
metrics = ["auprc"]
choose = ["val"]
test = "test"
calibrate = ["cal"]
seed = 7
[data]
modality = "ultrasound"
"""


def written(folder, text):
    path = folder / "plan.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_states_every_setting(tmp_path):
    path = written(tmp_path, WHOLE)
    plan = EvaluationPlan.of(path)
    assert plan == EvaluationPlan(
        primary="iou(threshold=0.3)",
        tolerance="15 px",
        prior="centre",
        margin=0.05,
        difference=1.0,
        level=0.025,
        methods=("gradcam", "mine"),
        metrics=("auprc",),
        choose=("val",),
        test=("test",),
        calibrate=("cal",),
        seed=7,
        data=DataFacts(modality="ultrasound"),
    )
    assert isinstance(plan.difference, float)
    assert plan.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_empty_file_is_the_default_plan(tmp_path):
    plan = EvaluationPlan.of(written(tmp_path, ""))
    assert plan == EvaluationPlan()
    assert plan.digest != EvaluationPlan().digest


def test_a_byte_order_mark_is_no_content(tmp_path):
    assert EvaluationPlan.of(written(tmp_path, b"\xef\xbb\xbfseed = 3")).seed == 3


def test_a_text_is_a_list_of_one():
    assert EvaluationPlan(test="test") == EvaluationPlan(test=["test"])


@pytest.mark.parametrize("wrong", ["a", None, True, [0.1]])
@pytest.mark.parametrize("name", ["margin", "difference", "level"])
def test_a_number_is_one(name, wrong):
    with pytest.raises(OptionError, match=rf"^{name} = .* was asked for; write a number above 0"):
        EvaluationPlan(**{name: wrong})


@pytest.mark.parametrize("wrong", [1.5, "a", None, True, 2**63])
@pytest.mark.parametrize("name", ["seed", "gated"])
def test_a_whole_number_is_one(name, wrong):
    with pytest.raises(OptionError, match=rf"^{name} = .* was asked for; write 0 or more, a whole number"):
        EvaluationPlan(**{name: wrong})


@pytest.mark.parametrize("name", ["margin", "difference"])
def test_differences_of_hits_are_shares(name):
    for points in (1, 10):
        with pytest.raises(
            OptionError, match=rf"^{name} = {points} was asked for, and primary = 'pointing_game' gives"
        ):
            EvaluationPlan(**{name: points})
        assert getattr(EvaluationPlan(primary="iou", **{name: points}), name) == points
    assert getattr(EvaluationPlan(**{name: 0.99}), name) == 0.99


def test_the_digest_of_settings_depends_on_each():
    plans = [
        EvaluationPlan(),
        EvaluationPlan(seed=1),
        EvaluationPlan(test=["a"]),
        EvaluationPlan(margin=0.2),
        EvaluationPlan(methods=["rise"]),
        EvaluationPlan(prior="edges"),
        EvaluationPlan(data=DataFacts(organ="breast")),
    ]
    assert len({plan.digest for plan in plans}) == len(plans)
    assert EvaluationPlan(methods=["gradcam"]).digest == EvaluationPlan(methods=("gradcam",)).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('prmary = "iou"', "no setting 'prmary'; did you mean primary"),
        ("[splits]\ntest = 1", "no setting 'splits'"),
        ("primary = 3", 'primary = 3 was read; write a text, as in primary = "text"'),
        ("margin = true", "margin = True was read; write a number, as in margin = 0.1"),
        ('margin = "0.1"', "margin = 0.1 was read; write a number"),
        ("seed = 1.5", "seed = 1.5 was read; write a whole number"),
        ("seed = true", "write a whole number"),
        ("seed = -1", "seed = -1 was asked for; write 0 or more"),
        ("methods = 1", "write a list of texts"),
        ("methods = [1]", "write a list of texts"),
        ("methods = []", "name at least one method"),
        ('methods = ["rise", "rise"]', "methods names 'rise' twice"),
        ('metrics = ["iou", "iou"]', "metrics names 'iou' twice"),
        ("margin = 0", "margin = 0 was asked for; write a number above 0"),
        ("margin = nan", "margin = nan was asked for"),
        ("margin = inf", "margin = inf was asked for"),
        ("difference = -1", "difference = -1 was asked for"),
        ("level = 0.5", "level = 0.5 was asked for; write a number above 0 and below 0.5"),
        (f"margin = {'9' * 400}", "margin = inf was asked for"),
        ('prior = "centr"', "no prior has that name; did you mean centre"),
        ('primary = "pointing"', "no metric has that name; did you mean pointing_game"),
        ('primary = "iou(treshold=0.3)"', "has the options: threshold"),
        ('primary = "iou(threshold=2)"', "threshold must be above 0"),
        ('primary = "iou(0.3)"', "write its name, or as in name(option"),
        ('primary = "ssim"', "it compares two maps"),
        ('primary = "entropy"', "neither more nor less of it is better"),
        ('metrics = ["spearman"]', "it compares two maps"),
        ('tolerance = "15"', "write it as 15 px, 2 %"),
        ('tolerance = "-1 px"', "write it as 15 px, 2 %"),
        ('choose = ["a"]\ntest = ["a"]', "the split 'a' is named twice"),
        ('choose = ["a"]', "none to score"),
        ('calibrate = ["a"]', "none to score"),
        ('[data]\nmodalty = "CT"', "[data] has no setting 'modalty'; did you mean modality"),
        ("[data]\norgan = 3", "organ = 3 was read; write a text"),
        ('data = "CT"', "data = CT was read; write a table, as in [data]"),
        ('modality = "CT"', "it has no setting 'modality'"),
        ("day = 2026-01-01", "no setting 'day'"),
        ("margin = 2026-01-01", "write a number"),
        ("margin = ", "it is not TOML"),
        ("margin = 0.1\nmargin = 0.1", "it is not TOML"),
        (b"\xff\xfe", "it is not TOML"),
        (b"seed = 1\0", "it is not TOML"),
        (f"methods = {'[' * 20_000}", "it is not TOML"),
        (f"seed = {'9' * 5000}", "it is not TOML"),
        ("#" * (MAX_BYTES + 1), "more than 65,536 bytes"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else value[:24],
)
def test_what_no_plan_can_state_is_one_line(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(OptionError) as caught:
        EvaluationPlan.of(path)
    assert str(caught.value).startswith(f"plan {path} was given; ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_file_that_is_none_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "none.toml", tmp_path / "a\0b"):
        with pytest.raises(OptionError, match="was given; it"):
            EvaluationPlan.of(path)


def test_a_prior_is_not_a_method():
    with pytest.raises(MethodError):
        EvaluationPlan(prior="gradcam")


def test_labels_of_metrics():
    assert metric_of(" iou ( threshold = 0.25 ) ") == IoU(0.25)
    assert parts_of("froc(threshold=0.4, false_marks=2)") == ("froc", {"threshold": "0.4", "false_marks": "2"})
    assert parts_of("iou()") == ("iou", {})


@pytest.mark.parametrize(
    ("text", "expected"), [("0 px", (0, "px")), ("2.5%", (2.5, "%")), (" 5  mm ", (5, "mm")), ("015px", (15, "px"))]
)
def test_tolerances(text, expected):
    assert tolerance_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", "px", "5 cm", "1e3 px", "5 px px", "٣ px", "9" * 400 + " px"], ids=lambda t: t[:8]
)
def test_what_is_no_tolerance(text):
    with pytest.raises(OptionError, match="write it as 15 px"):
        tolerance_of(text)
