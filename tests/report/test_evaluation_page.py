"""The report of an evaluation states what the evaluation holds, warns of what it does not show, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.evaluation.evaluation import Called, Confusion, Evaluation, Row, Spread, Stratum
from pellucid.evaluation.plan import DataFacts
from pellucid.evaluation.unit import DISTINCT
from pellucid.report.evaluation import write_report
from pellucid.report.evaluation.page import page
from pellucid.statistics import Claim, Interval
from tests.report import evaluations
from tests.report.test_index import Page

SECTIONS = (
    "summary", "model", "flow", "verdicts", "figures", "without", "controls", "gates", "strata", "examples",
    "provenance", "limits",
)  # fmt: skip
NOTHING = Path("/nonexistent")
HOST = re.compile(r"//|^[a-z]+:")


class Report(Page):
    """A page by its sections: the text of each, and its tables as rows of cells."""

    def __init__(self, content: bytes) -> None:
        self.section, self.whole = "", content.decode("utf-8")
        self.texts: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self.spans: list[tuple[str, dict[str, str | None]]] = []
        super().__init__(self.whole)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attributes)
        if tag == "section":
            self.section = dict(attributes)["id"] or ""
            self.texts[self.section] = []
        if tag in ("dt", "dd", "li", "br", "p", "summary") and "section" in self.open:
            self.texts[self.section].append(" ")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag == "caption":
            self.tables[-1].append([""])

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if "section" in self.open:
            self.texts[self.section].append(data)
        if "table" in self.open and {"th", "td", "caption"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def words(self, section: str) -> str:
        """The text of a section in one line."""
        return plain("".join(self.texts[section]))

    def table(self, caption: str) -> list[list[str]]:
        """The rows of the table whose caption begins so, the heads of its columns first."""
        found = [table for table in self.tables if plain(table[0][0]).startswith(caption)]
        assert len(found) == 1, [table[0] for table in self.tables]
        return [[plain(cell) for cell in row] for row in found[0][1:]]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def read(evaluation: Evaluation, folder: Path = NOTHING) -> Report:
    return Report(page(evaluation, {}, folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def small(folder: Path) -> Evaluation:
    return evaluations.small(folder)


@pytest.fixture(scope="module")
def written(small: Evaluation, folder: Path) -> Path:
    return write_report(small, folder)


@pytest.fixture(scope="module")
def report(written: Path) -> Report:
    return Report(written.read_bytes())


def two_digits(found: Interval) -> str:
    """An estimate of a hundred findings, as a reader expects it."""
    return f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"


def test_every_section_is_there_and_in_order(report: Report) -> None:
    assert [each["id"] for each in report.all("section")] == list(SECTIONS)
    assert len(report.all("h1")) == 1
    heads = [each.get("id") for each in report.all("h2")]
    assert heads == [f"{name}-title" for name in SECTIONS]
    assert [each["aria-labelledby"] for each in report.all("section")] == heads
    links = [each["href"] for each in report.all("a") if (each["href"] or "").startswith("#")]
    assert links == ["#summary", *(f"#{name}" for name in SECTIONS)]  # the first one skips the contents
    assert report.all("html")[0]["lang"] == "en"


def test_tables_have_captions_scopes_and_a_labelled_box(report: Report) -> None:
    boxes = [each for each in report.all("div") if each.get("class") == "scroll"]
    assert len(boxes) == len(report.all("table")) == len(report.all("caption")) > 10
    assert all(each["tabindex"] == "0" and each["role"] == "region" and each["aria-label"] for each in boxes)
    assert {each.get("scope") for each in report.all("th")} == {"col", "row"}


def test_the_primary_endpoint_is_the_evaluations(small: Evaluation, report: Report) -> None:
    _, *rows = report.table("Primary endpoint")
    assert [row[0].removesuffix(" (prior)") for row in rows] == [row.method for row in small.rows]
    for line, row in zip(rows, small.rows, strict=True):
        assert line[0].endswith(" (prior)") is row.is_prior
        assert line[1] == two_digits(row.figures["label"]["pointing_game"])
        verdict = row.verdict
        if verdict is None:
            assert set(line[2:]) == {"–"}
            continue
        low, middle, high = (verdict.difference.low, verdict.difference.estimate, verdict.difference.high)
        shown = f"{middle:+.2f} ({low:+.2f} to {high:+.2f}) over mean_mask".replace("-", "−")
        assert line[2] == shown
        for text, value in zip(line[3:6], (verdict.better, verdict.worse, verdict.as_good), strict=True):
            assert (text == "< 0.001") if value < 0.001 else math.isclose(float(text), value, abs_tol=0.005)
        assert line[7] == ("about 390" if verdict.claim is Claim.NOT_SHOWN else "–")


def test_the_metrics_are_the_evaluations(small: Evaluation, report: Report) -> None:
    for metric in ("pointing_game", "iou(threshold=0.3)", "relevance_mass"):
        tables = [table for table in report.tables if plain(table[0][0]) == metric]
        assert len(tables) == 1
        head, *rows = tables[0][1:]
        assert plain(head[1]) == "Maps of the annotated class 99 findings of 75 patients"
        assert plain(head[2]) == "Maps of the predicted class 99 findings of 75 patients, 2 without a value"
        for line, row in zip(rows, small.rows, strict=True):
            cells = [plain(cell) for cell in line[1:]]
            assert cells == [two_digits(row.figures[target][metric]) for target in ("label", "predicted")]
    assert "missing, over all methods and classes that were explained: 3: the map is empty" in report.words("figures")


def test_each_method_is_under_its_claim_with_what_it_does_not_mean(small: Evaluation, report: Report) -> None:
    words = report.words("verdicts")
    claims = ("Better than every prior", "As good as the prior", "Worse than the prior", "Not shown")
    starts = [words.index(f"{sign} {claim}") for sign, claim in zip("▲=▼?", claims, strict=True)]
    assert starts == sorted(starts)
    parts = [words[start:end] for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]
    for part, method in zip(parts, ("gradcam", "saliency", "layercam", "hirescam"), strict=True):
        assert f" {method} pointing_game: " in part
        assert "What it means" in part
        assert "What it does not mean" in part
    assert "It does not hold for 24 of 99 findings." in parts[0]
    assert "Its advantage over mean_mask, the closest prior, is +0.14 (+0.03 to +0.25); adjusted p = 0.004" in parts[0]
    assert "It is no praise" in parts[1]
    assert "adjusted p < 0.001 for worse" in parts[2]
    assert "Not shown is not: no difference." in parts[3]
    assert "adjusted p = 0.63. To find a true advantage of 0.1 with a probability of 80 % takes about 390" in parts[3]
    assert "there are 99 findings here" in parts[3]


def test_an_advantage_below_the_margin_and_a_control_that_fails_are_said(small: Evaluation, report: Report) -> None:
    words = read(replace(small, strata=())).words("verdicts")
    assert words.count("Caution:") == 2
    assert "the interval of the advantage begins at +0.03: an advantage that matters is not shown" in words
    assert (
        "In the negative control untrained network, where no map can know the finding, this method is better" in words
    )
    assert "gradcam, by +0.14 (+0.03 to +0.25) over mean_mask, but in a negative control as well" in report.words(
        "summary"
    )
    assert re.search(r"in a negative control as well \(with \d cautions: read the verdict\)", report.words("summary"))
    first = small.rows[0]
    large = replace(first.verdict, difference=Interval(0.3, 0.2, 0.4, 99, 75))
    without = read(replace(small, controls=(), strata=(), rows=[replace(first, verdict=large), *small.rows[1:]]))
    assert "Caution:" not in without.words("verdicts")
    assert "negative control" not in without.words("summary")


def test_where_a_better_method_is_not_better_is_said(small: Evaluation) -> None:
    first = small.rows[0]
    prior = next(row for row in small.rows if row.method == first.verdict.prior)
    worse = Interval(0.1, 0.05, 0.15, 99, 75)
    figures = {"label": {**first.figures["label"], "relevance_mass": worse}}
    parts = [
        Stratum(
            "size", name, {first.method: Interval(own, 0.1, 0.9, 40, 30), prior.method: Interval(0.5, 0.4, 0.6, 40, 30)}
        )
        for name, own in (("small", 0.4), ("large", 0.8))
    ]
    few = Interval(0.1, math.nan, math.nan, 5, 5, withheld="fewer than 20 patients")
    parts.append(Stratum("size", "medium", {first.method: few, prior.method: few}))
    page = read(replace(small, strata=parts, rows=[replace(first, figures=figures), *small.rows[1:]]))
    words = page.words("verdicts")
    assert f"In these other metrics its mean is no better than that of {prior.method}: relevance_mass." in words
    assert f"no better than that of {prior.method} for size small (0.40 and 0.50). Parts were not tested." in words
    better = {"label": {name: replace(one, estimate=1.0) for name, one in first.figures["label"].items()}}
    page = read(replace(small, strata=(), rows=[replace(first, figures=better), *small.rows[1:]]))
    assert "In these other metrics" not in page.words("verdicts")


def test_the_summary_states_counts_and_claims(report: Report) -> None:
    words = report.words("summary")
    assert "124 images of 100 patients with 99 findings were analysed, of 140 cases given." in words
    assert "4 methods are compared with 6 priors" in words
    for claim in ("Better than every prior", "As good as the prior, and not shown to be better", "Not shown"):
        assert f"{claim} (1 of 4): " in words
    assert "does not say that the map of a single patient is right" in words
    assert "Higher is better" in words
    assert "doi" not in words


def test_images_are_not_called_patients_where_none_is_stated(small: Evaluation) -> None:
    stratum = Stratum("hospital", "patient ward", dict.fromkeys(("gradcam",), evaluations.withheld()))
    report = read(replace(small, patients_stated=False, strata=[stratum], controls=(), limits=(), notes=()))
    whole = " ".join(map(plain, report.text))
    for section in ("summary", "verdicts"):
        assert DISTINCT.means in report.words(section)
    assert "124 images (100 distinct) with 99 findings were analysed" in whole
    assert "12 findings of 9 distinct images" in whole
    assert "fewer than 20 distinct images" in whole
    assert "hospital: patient ward" in whole  # a name is left as it is
    rest = whole.replace(DISTINCT.means, "")
    known = ("map of a single patient", "hospitals, patients and models")
    for phrase in (*known, "patient ward", "some patients is not known"):
        rest = rest.replace(phrase, "")
    assert "patient" not in rest, re.findall(".{40}patient.{40}", rest)
    assert "distinct image" not in " ".join(read(small).text)


def test_the_model_comes_with_its_counts(report: Report) -> None:
    _, *rows = report.table("The model on the images")
    assert rows[0] == ["benign", "0.91 (0.85 to 0.98)", "48", "51", "0.12", "0.06"]
    assert "above 0.5, which is chance, for benign and malignant" in report.words("model")


def test_calls_stand_beside_the_area_under_the_curve(small: Evaluation) -> None:
    classes = [f"class {index}" for index in range(14)]
    counts = [[10 * row + column for column in range(14)] for row in range(14)]
    detected = replace(small.quality[0], called=Called(40, 8, 3, 48))
    report = read(replace(small, quality=[detected], confusion=Confusion(classes, classes, counts)))
    assert report.table("Images in which the model detects a class")[1] == ["benign", "40", "8", "3", "48"]
    parts = [table for table in report.tables if plain(table[0][0]) == "Images by annotated and predicted class"]
    heads = [plain(cell) for part in parts for cell in part[1][1:]]
    assert heads == [f"Predicted: class {index}" for index in range(2, 14)] + ["Predicted: 2 other classes"]
    shown = [[int(cell) for part in parts for cell in part[row + 2][1:]] for row in range(14)]
    assert shown == [[*row[2:], row[0] + row[1]] for row in counts]
    words = report.words("model")
    assert "Cases of the training may be among these" in words
    assert words.index("Cases of the training") < words.index("Images in which the model detects")
    assert "Cases of the training" not in read(evaluations.bare()).words("model")


def test_a_model_that_is_not_better_than_chance_is_not_said_to_be(small: Evaluation) -> None:
    weak = replace(small.quality[0], auc=Interval(0.55, 0.44, 0.66, 99, 75))
    unknown = replace(small.quality[1], auc=None)
    whole = replace(small.quality[0], name="whole", auc=Interval(1.0, math.nan, math.nan, 40, 40, withheld="separate"))
    words = read(replace(small, quality=[weak, unknown, whole])).words("model")
    assert "For benign the model is not shown to do better than chance" in words
    assert "For malignant and whole the AUC has no interval" in words
    assert "which is chance, for" not in words
    assert "not stated: all or no images have the class" in words
    assert "1.00, without an interval: each image with the class has a higher probability than each without it" in words


def test_the_flow_names_what_is_excluded_and_why(report: Report) -> None:
    words = report.words("flow")
    assert "Given 140 cases" in words
    assert "Excluded 3 in all" in words
    assert re.search(r"2: the mask is empty names a.png b.png 1: no such file name c.png", words), words
    assert "12 images: kept for choosing settings" in words
    assert "Images of one patient were told by a column." in words


def test_counts_that_differ_stand_at_each_figure(small: Evaluation) -> None:
    first, *others = small.rows
    fewer = evaluations.share(0.5, 90, 70, excluded=9)
    report = read(replace(small, rows=[replace(first, figures={"label": {"pointing_game": fewer}}), *others]))
    head, one, other, *_ = report.table("Primary endpoint")
    assert head[1] == "Mean (95 % interval)"
    assert one[1] == f"{two_digits(fewer)} 90 findings of 70 patients, 9 without a value"
    assert other[1].endswith(" 99 findings of 75 patients")


def test_long_lists_of_names_are_cut_and_counted(small: Evaluation) -> None:
    names = [f"case-{index}" for index in range(10_000)]
    words = read(replace(small, flow=replace(small.flow, excluded={"missing": names}))).words("flow")
    assert "10000: missing" in words
    assert "case-499" in words
    assert "case-500" not in words
    assert "and 9500 more" in words


def test_heat_stands_beside_an_even_map(small: Evaluation) -> None:
    hardly = Interval(0.4, math.nan, math.nan, 25, 25, withheld="fewer than 10 patients differ")
    columns = {"at the border": hardly, "area": hardly}
    heat = dict.fromkeys(("gradcam", "edges", "centre", "mean_mask"), columns)
    report = read(replace(small, heat=heat, even={"at the border": 0.3597}))
    _, even, *rows = report.table("Where the heat goes")
    assert even == ["an even map (reference)", "0.36", "–"]
    own = {row[0].removesuffix(" (prior)"): row[1] for row in rows}
    assert "not stated" in own["gradcam"]
    assert "not stated" in own["edges"]
    assert own["centre"] == own["mean_mask"] == "0.40 (nearly) the same for every image"
    assert "It is computed, not measured" in report.words("without")
    assert "an even map" not in read(replace(small, heat=heat, even={})).words("without")


def test_controls_say_whether_they_came_out_as_expected(report: Report) -> None:
    words = report.words("controls")
    assert "shuffled masks none comes out" in words
    assert "No method comes out better than the priors, or as good as one." in words
    assert "untrained network look closer" in words
    assert "gradcam comes out better than the priors, or as good as one, where no map can know the finding" in words


def test_methods_stand_beside_their_own_controls(small: Evaluation) -> None:
    apart = {"gradcam": Interval(0.31, 0.12, 0.5, 99, 75), "saliency": Interval(0.05, -0.1, 0.2, 99, 75)}
    spreads = {"gradcam": Spread(0.31, 0.27, 0.34, 20)}
    control = replace(small.controls[0], differences=apart, spreads=spreads)
    report = read(replace(small, controls=[control]))
    head, *rows = report.table("shuffled masks: pointing_game")
    assert [cell.split(" (")[0] for cell in head] == ["Method", "Mean", "Method − control", "Mean of the shuffles"]
    own = {row[0]: row[2:] for row in rows}
    assert own["gradcam"] == ["+0.31 (+0.12 to +0.50)", "0.31 (0.27 to 0.34)"]
    assert own["saliency"][1] == own["centre (prior)"][0] == "–"
    words = report.words("controls")
    assert "Better on the findings themselves than here: gradcam. Not shown for saliency." in words
    assert "Methods were shuffled 20 times" in words
    assert "not that they are better than a prior" in words
    assert "shuffled 20 times" not in read(small).words("controls")


def test_why_few_methods_are_not_ranked_is_said(small: Evaluation) -> None:
    said = "Ranks and Kendall's τ are left out: of fewer than 3 methods"
    priors = [row for row in small.rows if row.is_prior]
    for count in (1, 2, 3):
        few = replace(small, rows=[*small.rows[:count], *priors], ranks={}, tau={})
        assert (said in read(few).words("figures")) is (count < 3)
    assert said not in read(small).words("figures")


def test_what_thresholds_were_tuned_on_is_said(small: Evaluation) -> None:
    folds, chosen = small.tuned[0], replace(small.tuned[1], thresholds=(0.4,), chosen_on=28)
    plan = replace(small.plan, choose=("val", "dev"), test=("test",))
    _, first, second = read(replace(small, plan=plan, tuned=[folds, chosen])).table("Overlap of map and finding")
    assert first[2:] == ["0.3, 0.35, 0.3, 0.4, 0.3", "for each of 5 folds, the findings of the others"]
    assert second[2:] == ["0.4", "28 findings of the split val and dev, none of which is scored"]


def test_what_could_not_be_tested_is_not_said_to_be_as_expected(small: Evaluation) -> None:
    control = replace(small.controls[0], no_claim="one patient only")
    lone = replace(small.rows[0], verdict=None, no_verdict="one patient only", failed=3)
    report = read(replace(small, controls=[control], rows=[lone, *small.rows[1:]]))
    assert "shuffled masks not tested" in report.words("controls")
    assert "Nothing could be tested here: one patient only." in report.words("controls")
    assert "gradcam: no verdict (one patient only)." in report.words("verdicts")
    assert "For 3 findings it has no value, which counts as a miss." in report.words("verdicts")


def test_each_case_is_shown_by_every_method(small: Evaluation, tmp_path: Path) -> None:
    every = [
        replace(one, method=method, value=value, file=one.file)
        for one in evaluations.examples(tmp_path, 2)
        for method, value in (("gradcam", 0.25), ("saliency", None))
    ]
    report = read(replace(small, examples=every), tmp_path)
    cases = [each for each in report.all("div") if each.get("class") == "case"]
    images = [each for each in report.all("img") if "map of" in (each["alt"] or "")]
    assert (len(cases), len(images)) == (8, 16)
    assert all(each["loading"] == "lazy" for each in images)
    assert [f"map of {method}" in (each["alt"] or "") for each in images for method in ("gradcam",)] == [
        True,
        False,
    ] * 8
    words = report.words("examples")
    assert "from 0 to 1, where 1 is the map's own maximum" in words
    assert "the outline of the annotated finding, and the ring with cross hairs the map's peak" in words
    assert words.count("pointing_game: 0.25") == 8


def test_small_subgroups_have_counts_alone(report: Report) -> None:
    assert report.table("Parts that are too small")[1] == [
        "hospital: North", "12 findings of 9 patients", "fewer than 20 patients",
    ]  # fmt: skip
    head, first, *_ = report.table("pointing_game by size")
    assert head[1:] == [f"{part} 33 findings of 30 patients" for part in ("small", "medium", "large")]
    assert first[1:] == [two_digits(evaluations.share(0.5, 33, 30))] * 3


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    report = Report(write_report(evaluations.bare(), tmp_path).read_bytes())
    assert [each["id"] for each in report.all("section")] == list(SECTIONS)
    for section, words in {
        "summary": "No verdict was possible. No model was given, so how good it is on these cases is not known.",
        "model": "No model was given",
        "flow": "Excluded none",
        "verdicts": "mine: no verdict. pointing_game: not stated: fewer than 20 patients, of 12 findings of 9",
        "without": "No image without a finding was given",
        "controls": "No negative control was run",
        "gates": "No randomisation test was run",
        "strata": "No strata were formed",
        "examples": "No case is shown",
        "provenance": "Nothing is stated of what the maps were made with",
        "limits": "No readers took part",
    }.items():
        assert words in report.words(section), section
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["primary.png", "primary.svg"]


def test_without_a_plan_all_is_exploratory(small: Evaluation, report: Report) -> None:
    said = "No plan was given: all of this is exploratory."
    unplanned = read(replace(small, planned=False))
    for section in ("summary", "verdicts", "provenance"):
        assert said in unplanned.words(section)
        assert said not in report.words(section)
    assert unplanned.words("verdicts").count("exploratory") >= 1 + 4  # and at every claim
    assert "a plan states the endpoint" not in unplanned.words("summary").lower()


def test_the_plan_states_what_the_images_are(small: Evaluation) -> None:
    plan = replace(small.plan, data=DataFacts(modality="ultrasound"))
    rows = dict(row for row in read(replace(small, plan=plan)).table("The plan") if len(row) == 2)
    assert (rows["data.modality"], rows["data.organ"], rows["tolerance"]) == ("ultrasound", "not stated", "0 px")


def test_exploratory_figures_are_apart_from_the_primary_endpoint(report: Report) -> None:
    words = report.words("figures")
    primary, rest = words.split("All other figures exploratory")
    assert "Primary endpoint: pointing_game" in primary
    assert "relevance_mass" not in primary
    assert "No adjustment is made for their number" in rest
    for section in ("without", "gates", "strata"):
        assert "exploratory" in report.words(section)


def test_nothing_runs_and_nothing_is_loaded_from_elsewhere(report: Report, written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policies = [each["content"] or "" for each in report.all("meta") if each.get("http-equiv")]
    assert len(policies) == 1
    assert policies[0].startswith(f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'none'; ")
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    for tag, attributes in report.elements:
        assert tag not in ("script", "iframe", "link", "object", "form", "base")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "srcset", "href"):
            target = attributes.get(name) or "#"
            inside = target.startswith(("#", "data:image/")) or not HOST.search(target)
            assert inside, target
            if inside and not target.startswith(("#", "data:")):
                assert (written.parent / target).is_file(), target


def test_figures_state_their_numbers_in_words(small: Evaluation, report: Report) -> None:
    images = report.all("img")
    assert all(each.get("alt") for each in images)
    forest = next(each["alt"] or "" for each in images if (each["alt"] or "").startswith("pointing_game, mean"))
    for row in small.rows:
        found = row.figures["label"]["pointing_game"]
        assert f"{row.method}{' (prior)' if row.is_prior else ''}: {two_digits(found)}" in plain(forest)
    assert any(
        "benign: AUC 0.91 (0.85 to 0.98), 48 images with the class and 51 without" in plain(each["alt"] or "")
        for each in images
    )
    assert any("0.10 at 0.07 (30 images)" in (each["alt"] or "") for each in images)
    assert any("gradcam: highest 0.40 at 0.3; " in (each["alt"] or "") for each in images)


@pytest.mark.parametrize("index", range(len(evaluations.HOSTILE)))
def test_names_are_texts_wherever_they_stand(folder: Path, small: Evaluation, index: int) -> None:
    hostile, harmless = evaluations.HOSTILE[index], "harmless"
    found = read(evaluations.named(hostile, folder), folder)
    expected = read(evaluations.named(harmless, folder), folder)
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in expected.elements]
    assert [set(each) for _, each in found.elements] == [set(each) for _, each in expected.elements]
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", found.whole)
    shown = hostile.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\udcff", "\\udcff")
    assert plain(shown) in found.words("verdicts")
    assert plain(shown) in found.words("examples")


def test_figures_of_such_names_are_drawn(tmp_path: Path, small: Evaluation) -> None:
    first = small.rows[0]
    rows = [Row(name, False, first.figures, first.verdict) for name in evaluations.HOSTILE]
    curves = dict.fromkeys(evaluations.HOSTILE, small.curves["gradcam"])
    quality = [replace(small.quality[0], name=name) for name in evaluations.HOSTILE[:4]]
    made = replace(small, rows=rows, curves=curves, quality=quality, examples=())
    write_report(made, tmp_path)
    for path in sorted((tmp_path / "figures").glob("*.svg")):
        assert "<script" not in path.read_text(encoding="utf-8")


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    whole = "".join(2 * letter for letter in colour) if len(colour) == 3 else colour
    parts = [int(whole[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_colour_of_letters_can_be_read_on_every_ground(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    variables = dict(re.findall(r"--(\w+): #([0-9a-f]{3,6});", text))
    resolved = re.sub(r"var\(--(\w+)\)", lambda found: f"#{variables.get(found[1], '000')}", text)
    letters = set(re.findall(r"[;{]\s*color: #([0-9a-f]{3,6})", resolved))
    grounds = {"fff", *re.findall(r"background: #([0-9a-f]{3,6});", resolved)} - {"11181d"}  # images, without letters
    assert len(letters) >= 5
    assert len(grounds) >= 4
    for colour in letters:
        for ground in grounds:
            one, other = sorted((luminance(colour), luminance(ground)))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (colour, ground)


def test_details_and_boxes_are_whole_in_print(written: Path) -> None:
    printed = written.read_text(encoding="utf-8").split("@media print")[-1].split("</style>")[0]
    assert "details::details-content { content-visibility: visible; display: block;" in printed
    assert ".scroll, .names { overflow: visible; max-height: none;" in printed


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    return write_report(evaluations.large(folder), folder)


def test_the_report_of_500_cases_is_small(large: Path) -> None:
    assert large.stat().st_size < 5e6
    assert sum(path.stat().st_size for path in large.parent.rglob("*") if path.is_file()) < 60e6


def test_many_columns_become_several_tables(large: Path) -> None:
    report = Report(large.read_bytes())
    assert max(len(row) for table in report.tables for row in table) <= 8
    gates = [table for table in report.tables if plain(table[0][0]) == "Maps of a network with random weights"]
    assert [len(table[1]) for table in gates] == [1 + 4, 1 + 2]


@pytest.mark.parametrize("claim", Claim)
def test_no_claim_is_made_that_the_verdict_does_not_hold(small: Evaluation, claim: Claim) -> None:
    first = small.rows[0]
    verdict = evaluations.verdict("gradcam", claim, evaluations.share(0.2))
    report = read(replace(small, rows=[replace(first, verdict=verdict), *small.rows[4:]], controls=()))
    signs = {Claim.BETTER: "▲", Claim.AS_GOOD: "=", Claim.WORSE: "▼", Claim.NOT_SHOWN: "?"}
    found = [text for text in report.text if text in signs.values()]
    assert found == [signs[claim]]
    for word in ("reliable", "trustworthy", "accurate", "significant", "compliant", "***"):
        assert word not in " ".join(report.text)
