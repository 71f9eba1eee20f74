"""That what is deployed is this version."""

import re

import yaml

from broker import __version__
from tests.deploy.programs import DEPLOY, ROOT


def test_image_chart_and_examples_have_it() -> None:
    chart = yaml.safe_load((DEPLOY / "helm" / "runcast" / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    label = re.search(r'image\.version="([^"]+)"', (ROOT / "Dockerfile").read_text())
    assert label is not None
    assert label[1] == __version__
    for file in ("compose/compose.yaml", "kubernetes/sidecar.yaml"):
        tags = re.findall(r"image: runcast:(\S+)", (DEPLOY / file).read_text())
        assert set(tags) == {__version__}, file
