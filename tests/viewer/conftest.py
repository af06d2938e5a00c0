"""What the tests of the viewer share."""

import pytest
from viewer_page import Page


@pytest.fixture
def page(viewer) -> Page:
    """The page of a module's own ``viewer``, with its first frame drawn."""
    page = Page(viewer)
    page.wait_for(lambda frame: True, "no first frame")
    return page
