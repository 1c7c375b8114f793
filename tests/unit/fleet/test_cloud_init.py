"""What cloud-init makes of a new droplet."""

from __future__ import annotations

from typing import Any

import yaml

from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.host_keys import generate

KEY = generate()


def user_data(*, proxy: bool = False, packages: tuple[str, ...] = ()) -> dict[str, Any]:
    text = render_user_data(app="shop", proxy=proxy, host_key=KEY, packages=packages)
    assert text.startswith("#cloud-config\n")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_an_application_droplet_has_the_users_that_build_and_run_an_app() -> None:
    users = user_data()["users"]
    assert [one["name"] for one in users] == ["build-shop", "app-shop"]
    assert all(one["lock_passwd"] and one["system"] for one in users)


def test_an_application_droplet_has_no_git() -> None:
    packages = user_data()["packages"]
    assert "git" not in packages
    assert {"perl", "starman", "carton", "cpanminus", "build-essential", "ca-certificates"} < set(packages)


def test_packages_of_the_settings_are_installed_on_application_droplets_only() -> None:
    assert user_data(packages=("libpq5", "npm"))["packages"][-2:] == ["libpq5", "npm"]
    assert "libpq5" not in user_data(proxy=True, packages=("libpq5",))["packages"]


def test_the_host_key_is_the_one_that_was_recorded() -> None:
    assert user_data()["ssh_keys"]["ed25519_public"] == KEY.public
