"""Refs that people and CI systems type."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess

import pytest

from bluegreen.errors import RefError
from bluegreen.git_refs import REF_PATTERN, Meaning, check_ref, meaning_of

REFUSED = [
    "--upload-pack=x",
    "-v",
    "$(id) ",
    "../x",
    "x" * 201,
    "",
    "v1\n",
    "a\nb",
    "a b",
    "a\tb",
    "a//b",
    "/a",
    "a/",
    ".a",
    "a/.b",
    "a.",
    "x.lock",
    "x.lock/y",
    "a@{1}",
    "@",
    "main~1",
    "main^",
    "v1:lib",
    "re*",
    "a?",
    "a[1]",
    "a\\b",
    "a\x7f",
    # A line that is read from right to left, a blank that nobody sees, a line break of Unicode's.
    "v1\u202egnp",
    "v1\u200b",
    "v1\u00a0",
    "v1\u2028",
    "v1\ud800",
]

ACCEPTED = [
    *("main", "v1.2.3", "feature/x-1", "a" * 200, "release@2024", "0" * 40, "ABCDEF" + "0" * 34),
    *("feature/#12", "fix/a+b=c", "user/ann's", "a;id", "$(id)", "a&b", "a|b", "a%20b", "{x}", "a,b", "a!b"),
    *("é", "функция/1", "修正", "refs/heads/main", "refs/tags/v1", "origin/main", "HEAD", "_x", "x-", "a@b"),
]


@pytest.mark.parametrize("ref", REFUSED)
def test_a_malformed_ref_is_refused_with_the_rule(ref: str) -> None:
    with pytest.raises(RefError, match="a ref is a branch, a tag or a commit"):
        check_ref(ref)
    # The trigger form and the REST API use the same pattern with re.search.
    assert not re.search(REF_PATTERN, ref)


@pytest.mark.parametrize("ref", ACCEPTED)
def test_what_git_and_forges_allow_passes(ref: str) -> None:
    assert check_ref(ref) == ref
    assert re.search(REF_PATTERN, ref)


def test_the_pattern_agrees_with_git_about_any_name() -> None:
    chance = random.Random(20261130)  # noqa: S311
    parts = [*"ab/.@{}~^:?*[\\-#'$ ;é\x7f\t", "..", "//", "/.", "@{", ".lock", "/", "main", "lock"]
    ordered = sorted({"".join(chance.choices(parts, k=chance.randint(1, 5))) for _ in range(1500)})
    script = 'while IFS= read -r name; do git check-ref-format "refs/heads/$name"; echo $?; done'
    given = "".join(f"{name}\n" for name in ordered)
    said = subprocess.run(["bash", "-c", script], input=given, capture_output=True, text=True, check=True)
    # A name that begins with `-` is a valid ref, but neither `git branch` nor `git tag` makes one.
    git_allows = {
        name
        for name, status in zip(ordered, said.stdout.split(), strict=True)
        if status == "0" and not name.startswith("-") and name != "@"
    }
    assert {name for name in ordered if re.search(REF_PATTERN, name)} == git_allows
    assert len(git_allows) > 100


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no JavaScript here")
def test_the_trigger_form_accepts_what_the_rest_api_does() -> None:
    program = """
        const [pattern, names] = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const form = new RegExp(pattern, "u");
        console.log(JSON.stringify(names.filter(name => form.test(name))));
    """
    given = json.dumps([REF_PATTERN, [*ACCEPTED, *REFUSED]])
    said = subprocess.run(["node", "-e", program], input=given, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == ACCEPTED


@pytest.mark.parametrize(
    ("ref", "meaning"),
    [
        ("v1", Meaning(names=("refs/tags/v1", "refs/heads/v1"))),
        ("refs/heads/main", Meaning(names=("refs/heads/main",))),
        ("refs/tags/v1", Meaning(names=("refs/tags/v1",))),
        ("refs/remotes/origin/main", Meaning(names=("refs/heads/main",))),
        (
            "origin/main",
            Meaning(
                names=("refs/tags/origin/main", "refs/heads/origin/main"), otherwise=("refs/heads/main",)
            ),
        ),
        (
            "heads/main",
            Meaning(names=("refs/tags/heads/main", "refs/heads/heads/main"), otherwise=("refs/heads/main",)),
        ),
        ("HEAD", Meaning(default_branch=True)),
        ("AB" * 20, Meaning(commit="ab" * 20)),
        ("ABC1234", Meaning(names=("refs/tags/ABC1234", "refs/heads/ABC1234"), commit="abc1234")),
        (
            "v1.2-14-gabc1234",
            Meaning(names=("refs/tags/v1.2-14-gabc1234", "refs/heads/v1.2-14-gabc1234"), commit="abc1234"),
        ),
        (
            "fix-2-green",
            Meaning(names=("refs/tags/fix-2-green", "refs/heads/fix-2-green")),
        ),
        ("abc123", Meaning(names=("refs/tags/abc123", "refs/heads/abc123"))),
    ],
)
def test_what_ci_systems_hand_over_is_understood(ref: str, meaning: Meaning) -> None:
    assert meaning_of(ref) == meaning


@pytest.mark.parametrize("ref", ["refs/pull/1/head", "refs/merge-requests/2/merge", "refs/notes/x"])
def test_what_is_neither_branch_nor_tag_is_refused_with_advice(ref: str) -> None:
    with pytest.raises(RefError, match=r"neither a branch nor a tag.*merge it, or name the commit"):
        meaning_of(ref)
