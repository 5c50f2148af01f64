"""docs/metrics.md: its examples run, and it names every value that comes out."""

import re
from pathlib import Path

import pytest

from eval.names import METRICS, VALUES

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def names() -> dict:
    found: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, found)
    return found


def test_examples_say_what_they_say(names, capsys):
    values = names["report"].values
    assert (values["vpq.1"], values["id_switches"]) == (1.0, 1)
    # Of the 7 windows of 2 frames one holds half of either id, which is no match.
    assert values["vpq.2.things"] == pytest.approx(6 / (6 + 0.5 + 0.5 * 2))
    assert names["compare"](names["better"], names["worse"])["vpq.4"].difference > 0


def patterns():
    """Regular expressions of the names in `VALUES`."""
    for entry in VALUES:
        stem = ""
        for name in entry.split(", "):
            head, *options = name.split("|")
            if options:
                stem, first = head.rsplit(".", 1)
                yield re.escape(stem) + r"\.(" + "|".join([first, *options]) + ")"
            else:
                yield (
                    re.escape(name)
                    .replace("<k>", r"\d+")
                    .replace("<n>", r"\d+")
                    .replace("…", ".*")
                    .replace(r"\.\.\.", ".*")
                )


def test_every_value_is_named(names):
    known = [re.compile(pattern) for pattern in patterns()]
    for value in names["report"].values:
        plain = value.removesuffix(".things").removesuffix(".stuff")
        assert any(pattern.fullmatch(plain) for pattern in known), value


def test_the_page_has_every_name():
    for entry in VALUES:
        for name in entry.replace("|", r"\|").split(", "):
            assert f"`{name}`" in PAGE, name
    for metric in METRICS:
        assert re.search(rf"\b{metric}\b", PAGE, flags=re.IGNORECASE) or metric in ("clear", "identity"), metric
