"""The libraries that models come from; what needs one that is not installed is skipped."""

import pytest

from tests.models.sources.helpers import optional


@pytest.fixture
def transformers():
    library = optional("transformers")
    library.utils.logging.disable_progress_bar()
    return library


@pytest.fixture
def xrv():
    return optional("torchxrayvision")


@pytest.fixture
def monai():
    return optional("monai.networks.nets")
