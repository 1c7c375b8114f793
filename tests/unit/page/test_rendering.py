"""The page's HTML: everything that there may be on it, and nothing of a stranger's that is more than text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from bluegreen.page.records import ActiveRun, AppRecords, Ended, Left, Question, TaskState
from bluegreen.page.rendering import age, left, render
from tests.unit.page_records import NOW, ago, droplet, first_deploy, record, shop, status

NASTY = "</dd><script>alert(1)</script>\"' onclick=alert(2) <img src=x onerror=alert(3)>{{ 7 * 7 }}"


def busy(text: str) -> AppRecords:
    """Records of an app with everything that is shown, and a text wherever a stranger may write one."""
    lock = {"owner": text, "run_id": text, "ref": text, "since": NOW.timestamp(), "token": 7}
    proxy = {"name": text, "address": "198.18.0.1", "lock": lock}
    droplets = [droplet(text, "green", text, service=text), droplet("b", "blue", text, problem=text)]
    finding = {"severity": "error", "subject": text, "what": text, "advice": text}
    progress = {"ends": NOW.timestamp() + 20, "reverts_at": NOW.timestamp() + 80}
    progress["points"] = [[5.0, 500, 0], [10.0, 900, 3], [15.0, 1500, 4]]  # type: ignore[assignment]
    xcoms = {
        ("resolve_ref", "return_value"): text,
        ("resolve_ref", "commit"): text,
        ("provision_check", "plan"): {"idle": "green"},
        ("switch_traffic", "return_value"): {text: {"to": "green"}},
        ("final_validation", "progress"): progress,
    }
    run = ActiveRun(
        "bluegreen_deploy__shop",
        text,
        "running",
        ago(minutes=2),
        text,
        conf={"ref": text, "reason": text},
        tasks=(
            TaskState("deploy", 0, "success", NOW, NOW),
            TaskState("deploy", 1, "running", NOW, None),
            TaskState(text, -1, "failed", NOW, None),
            TaskState("report", -1, None, None, None),
        ),
        left={key: Left(value, NOW) for key, value in xcoms.items()},
        question=Question("approval", text, ago(minutes=1)),
    )
    nasty = {"ref": text, "message": text, "triggered_by": text, "subject": text, "run_id": text}
    records = shop(first_deploy(), status=status(*droplets, proxies=[proxy]), active=[run])
    records.ended.insert(0, Ended(record(**nasty, revision=text), ago(hours=1), commit=text))
    records.dry_run = {"summary": Left(text, NOW), "findings": Left([finding] * 7, NOW)}
    dates = {"ends": (NOW + timedelta(days=5)).isoformat(), "late_from": NOW.isoformat()}
    records.certificates = Left({text: dates}, NOW)
    return records


def page(*apps: AppRecords, template: str = "page.html.j2") -> str:
    return render(template, apps, base="/air", only=None, now=NOW)


class Elements(HTMLParser):
    """The elements of a page with their attributes, in order; none that is not closed, or closed twice."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def of(self, *tags: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.found if tag in tags)


@pytest.mark.parametrize("template", ["page.html.j2", "apps.html.j2"])
def test_a_strangers_text_adds_no_element_and_no_attribute(template: str) -> None:
    def shape(html: str) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in Elements(html).found]

    nasty = page(busy(NASTY), template=template)
    assert shape(nasty) == shape(page(busy("x"), template=template))
    assert "{{ 7 * 7 }}" in nasty
    assert nasty.count("&lt;script&gt;") > 20


def test_everything_is_reached_and_named_without_a_mouse_and_without_eyes() -> None:
    elements = Elements(page(busy("x"), shop()))
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    for section in elements.of("section"):
        assert section["aria-labelledby"] in ids
    for named in elements.of("article", "nav", "progress"):
        assert named["aria-label"]
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert ("html", {"lang": "en"}) in elements.found
    assert [one["id"] for one in elements.of("main")] == ["apps"]
    assert [one["role"] for one in elements.of("p") if "aria-live" in one] == ["status"]
    # A reader that jumps from link to link hears which app each is of.
    links = re.findall(r"<a [^>]*>(.*?)</a>", page(shop()), re.DOTALL)
    assert [" ".join(re.sub(r"<[^>]*>", "", one).split()) for one in links if "shop" in one] == [
        *("shop", "Deploy shop", "Roll back shop"),
        "Refresh shop",
    ]


def test_the_states_of_a_run_at_work_are_words_and_not_colors_alone() -> None:
    html = page(busy("x"))
    text = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    for words in (
        "deploy running, 1 of 2",
        "x failed",
        "report to come",
        "Waits for an approval since 1 minute ago",
        "1,500 requests to the new color, 4 answered with 5xx",
        "The proxies take it back in 1 minute , unless",
        "not confirmed yet",
        "renewal is late",
        "and 2 more",
        "held by x (x)",
    ):
        assert words in text, words
    assert '/air/dags/bluegreen_deploy__shop/runs/x/tasks/approval/required_actions"' in html


def test_an_app_without_any_record_is_shown() -> None:
    text = re.sub(r"<[^>]*>", " ", page(AppRecords("shop")))
    assert "It is not known which color is live" in text


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (NOW, "now"),
        (ago(seconds=1), "1 second ago"),
        (ago(seconds=119), "1 minute ago"),
        (ago(hours=3), "3 hours ago"),
        (ago(days=40), "40 days ago"),
        (NOW + timedelta(hours=1), "now"),
    ],
)
def test_an_age_is_in_its_largest_unit(at: datetime, words: Any) -> None:
    assert age(at, NOW) == words


def test_what_is_to_come_is_in_its_largest_unit() -> None:
    assert left(NOW + timedelta(seconds=45), NOW) == "45 seconds"
    assert left(ago(seconds=5), NOW) == "now"
