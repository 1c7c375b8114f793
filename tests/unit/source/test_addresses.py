"""Addresses of repositories."""

from __future__ import annotations

import pytest

from bluegreen.source.addresses import check_address, submodule_address


@pytest.mark.parametrize(
    "url",
    [
        "https://forge.example/org/shop.git",
        "http://10.0.0.5:8080/git/shop.git",
        "ssh://git@forge.example:2222/org/shop.git",
        "git@forge.example:org/shop.git",
    ],
)
def test_an_address_of_a_forge_is_allowed(url: str) -> None:
    assert check_address(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *(
            "/srv/git/shop.git",
            "shop",
            "file:///srv/git/shop.git",
            "ext::sh -c id",
            "git://forge.example/shop",
        ),
        *("ssh://-oProxyCommand=id/x", "-oProxyCommand=id:x", "-git@forge:x", "git@-forge:x", "https:///x"),
        *("https://user@forge.example/x", "https://user:geheim@forge.example/x", "ssh://git:geheim@forge/x"),
        *(
            "https://forge.example/a b",
            "https://forge.example/a\nb",
            "https://forge:port/x",
            "https://[::1/x",
        ),
        *("ssh://-git@forge/x", "https://forge.example/" + "x" * 2000, ""),
    ],
)
def test_any_other_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are|does not belong|has no blanks|no URL") as caught:
        check_address(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("parent", "url", "address"),
    [
        ("https://forge.example/org/shop.git", "../lib.git", "https://forge.example/org/lib.git"),
        ("https://forge.example/org/shop.git/", "../lib.git", "https://forge.example/org/lib.git"),
        ("https://forge.example/org/shop.git", "../../other/lib", "https://forge.example/other/lib"),
        ("https://forge.example/org/shop.git", "./lib", "https://forge.example/org/shop.git/lib"),
        ("git@forge.example:org/shop.git", "../lib.git", "git@forge.example:org/lib.git"),
        ("git@forge.example:org/shop.git", "../../other/lib.git", "git@forge.example:other/lib.git"),
        ("ssh://git@forge.example/org/shop.git", "../lib.git", "ssh://git@forge.example/org/lib.git"),
        ("ssh://git@forge.example/shop.git", "https://a.example/lib", "https://a.example/lib"),
    ],
)
def test_a_relative_address_starts_at_that_of_the_parent(parent: str, url: str, address: str) -> None:
    assert submodule_address(parent, url) == address


@pytest.mark.parametrize("url", ["../../../other.example/x", "../../../../x", "../../../../../etc"])
def test_a_relative_address_stays_on_its_host(url: str) -> None:
    with pytest.raises(ValueError, match="leads above the host"):
        submodule_address("https://forge.example/org/shop.git", url)
    with pytest.raises(ValueError, match="leads above the host"):
        submodule_address("git@forge.example:org/shop.git", url)
