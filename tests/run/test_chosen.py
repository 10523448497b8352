"""What "auto" stands for: a choice that is given or kept, the best layers of a method, or the convention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.choice import Choice, GradedPair
from pellucid.core.provenance import digest
from pellucid.errors import DataError, OptionError, PellucidWarning
from pellucid.methods import GradCAM, Occlusion
from pellucid.run.chosen import keep, kept_for
from tests.networks import TinyCNN

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyCNN()


def names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]


def choice(model: nn.Module, *pairs: GradedPair, chosen: int | None = 0) -> Choice:
    return Choice(pairs, (), chosen, "no choice: for a test", 24, weights_sha256=digest(model))


def pair(
    method: str, *layers: str, grade: float = 0.9, stage: int = 2, excluded: str = "", **options: object
) -> GradedPair:
    return GradedPair(method, layers, grade, 0.8, 1.0, 1, 1.0, stage, excluded, options=options)


def test_the_chosen_method_and_layers_are_taken(model: nn.Module) -> None:
    first = names(model)[0]
    given = choice(model, pair("hirescam", first), pair("saliency", grade=0.5))
    found = pellucid.explain(model, IMAGES, "auto", choice=given)
    own = pellucid.explain(model, IMAGES, "hirescam", layers=[first])
    assert torch.equal(found.heatmaps, own.heatmaps)
    assert (found.method, found.layers) == ("hirescam", (first,))
    assert found.provenance["chosen"] == (
        f"hirescam at {first} was chosen by measurement on 24 images: its grade is 0.90"
    )
    assert own.provenance["chosen"] is None


def test_a_method_s_best_layers_of_the_last_stage_are_taken(model: nn.Module) -> None:
    one, two = names(model)[:2]
    pairs = [
        pair("gradcam", one, grade=0.99, stage=1),
        pair("gradcam", two, grade=0.7),
        pair("gradcam", one, grade=0.98, excluded="fails"),
        pair("hirescam", one, grade=0.9),
    ]
    found = pellucid.explain(model, IMAGES, "gradcam", layers="auto", choice=choice(model, *pairs, chosen=3))
    assert found.layers == (two,)
    other = pellucid.explain(model, IMAGES, "layercam", layers="auto", choice=choice(model, *pairs))
    assert other.layers == pellucid.explain(model, IMAGES, "layercam").layers
    assert "layercam was not measured at layers" in other.provenance["chosen"]


def test_named_layers_stay(model: nn.Module) -> None:
    one, two = names(model)[:2]
    found = pellucid.explain(model, IMAGES, "auto", layers=[two], choice=choice(model, pair("hirescam", one)))
    assert (found.method, found.layers) == ("hirescam", (two,))
    assert found.provenance["chosen"].endswith("its layers were named")


def test_options_of_the_method_travel(model: nn.Module) -> None:
    given = choice(model, pair("occlusion", **pellucid.core.catalogue.settings(Occlusion(window=8, stride=8))))
    again = Choice.from_json(given.to_json())
    assert again == given
    found = pellucid.explain(model, IMAGES, "auto", choice=again)
    own = pellucid.explain(model, IMAGES, Occlusion(window=8, stride=8))
    assert torch.equal(found.heatmaps, own.heatmaps)
    with pytest.raises(OptionError, match="cannot be built from the options"):
        pellucid.explain(model, IMAGES, "auto", choice=choice(model, pair("occlusion", nothing=1)))


def test_layers_that_were_chosen_together_are_added(model: nn.Module) -> None:
    one, two = names(model)[:2]
    found = pellucid.explain(model, IMAGES, "auto", choice=choice(model, pair("hirescam", one, two)))
    assert found.provenance["fuse"] == "sum"
    with pytest.warns(PellucidWarning, match="the same evidence counts twice"):  # as the test's network has no branches
        own = pellucid.explain(model, IMAGES, "hirescam", layers=[one, two], fuse="sum")
    assert torch.equal(found.heatmaps, own.heatmaps)


def test_a_refused_choice_s_rows_are_not_taken(model: nn.Module) -> None:
    """They are there to be read: nothing was chosen."""
    given = choice(model, pair("gradcam", names(model)[0]), chosen=None)
    plain = pellucid.explain(model, IMAGES)
    for asked in ({"method": "auto"}, {"method": "gradcam", "layers": "auto"}):
        found = pellucid.explain(model, IMAGES, choice=given, **asked)
        assert found.layers == plain.layers
        assert found.provenance["chosen"] == "no choice: for a test: the convention is taken"


def test_without_a_choice_it_is_the_convention(model: nn.Module) -> None:
    plain = pellucid.explain(model, IMAGES)
    for asked in ({"method": "auto"}, {"layers": "auto"}, {"method": "auto", "choice": choice(model, chosen=None)}):
        found = pellucid.explain(model, IMAGES, **asked)
        assert torch.equal(found.heatmaps, plain.heatmaps)
        assert found.provenance["chosen"].endswith("the convention is taken")
    assert "no choice: for a test" in found.provenance["chosen"]


def test_a_kept_choice_is_of_these_weights_only(model: nn.Module, cache: Path) -> None:
    assert kept_for(model) is None
    path = keep(choice(model, pair("hirescam", names(model)[0])))
    assert path.is_relative_to(cache)
    assert pellucid.explain(model, IMAGES, "auto").method == "hirescam"
    assert pellucid.Explainer(model, "auto")(IMAGES).method == "hirescam"
    keep(choice(model, pair("saliency")))  # a later one replaces it
    assert pellucid.explain(model, IMAGES, "auto").method == "saliency"
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert pellucid.explain(model, IMAGES, "auto").method == "gradcam"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": "pellucid-choice-1"}'])
def test_a_broken_file_counts_as_none(model: nn.Module, content: bytes) -> None:
    keep(choice(model, pair("saliency"))).write_bytes(content)
    assert pellucid.explain(model, IMAGES, "auto").method == "gradcam"


def test_a_file_of_another_network_counts_as_none(model: nn.Module) -> None:
    path = keep(choice(model, pair("saliency")))
    path.write_text(replace(choice(model, pair("saliency")), weights_sha256="0" * 64).to_json())
    assert kept_for(model) is None


def test_what_cannot_be_meant(model: nn.Module) -> None:
    given = choice(model, pair("saliency"))
    with pytest.raises(OptionError, match='it is used with method="auto"'):
        pellucid.explain(model, IMAGES, "gradcam", choice=given)
    with pytest.raises(OptionError, match="other weights"):
        pellucid.explain(TinyCNN(), IMAGES, "auto", choice=given)
    with pytest.raises(OptionError, match=r"must be a pellucid\.Choice"):
        pellucid.explain(model, IMAGES, "auto", choice="choice.json")  # type: ignore[arg-type]  # as a user may
    with pytest.raises(OptionError, match="looks at none"):
        pellucid.explain(model, IMAGES, "auto", layers=names(model)[:1], choice=given)


def test_paths_do_not_come_from_a_file(model: nn.Module) -> None:
    """The digest in a choice names the file in the cache: it has to be one."""
    with pytest.raises(DataError):
        keep(replace(choice(model, pair("saliency")), weights_sha256="../../outside"))


def test_a_method_with_its_options_takes_its_own_layers(model: nn.Module) -> None:
    two = names(model)[1]
    found = pellucid.explain(model, IMAGES, GradCAM(), layers="auto", choice=choice(model, pair("gradcam", two)))
    assert found.layers == (two,)
