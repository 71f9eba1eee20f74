"""A file that is another than thought is not started."""

import pytest

from tests.proxies.config import Change, changed


def test_each_change_is_made() -> None:
    changes = [Change("edge-1:8080", "127.0.0.1:1"), Change("60s", "2s")]
    assert changed("to edge-1:8080 in 60s", changes) == "to 127.0.0.1:1 in 2s"


@pytest.mark.parametrize("text", ["nothing of the kind", "60s and 60s"])
def test_what_is_not_there_once_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'60s' stands there"):
        changed(text, [Change("60s", "2s")])
