"""What a deploy may be triggered with; Airflow's form and API check the same JSON schema."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from bluegreen.dag_building.trigger_form import deploy_params
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.validation import ValidationSettings
from tests.unit.ci_artifacts import allowing
from tests.unit.repositories import app_of

APP = load_app("my_perl_app")


def conf(app: App = APP, **given: Any) -> dict[str, Any]:
    """The params of a run that was triggered with these."""
    params = ParamsDict(deploy_params(app))
    params.update({"ref": "v1", **given})
    checked: dict[str, Any] = params.validate()
    return checked


def test_a_ref_is_enough() -> None:
    assert conf()["bake"] == APP.validation.bake
    assert conf()["reason"] is None


@pytest.mark.parametrize(
    "bad",
    [
        {"ref": "v1; reboot"},
        {"ref": "v1\n"},
        {"reason": "two\nlines"},
        {"reason": "one line, and its end\n"},
        {"reason": "x" * 201},
        {"bake": 0},
        {"bake": 3601},
        {"bake": "30"},
        {"bake": None},
        {"force": "yes"},
        {"dry_run": "yes"},
        {"live": "red"},
    ],
)
def test_a_bad_value_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        conf(**bad)


def test_a_bake_that_could_make_no_verdict_is_refused() -> None:
    slow = ValidationSettings(min_requests=500, paths=["/", "/cart"], bake=60)
    app = APP.model_copy(update={"validation": slow})
    assert conf(app, bake=20)["bake"] == 20
    with pytest.raises(ParamValidationError):
        conf(app, bake=19)


def test_the_shortest_bake_of_a_form_is_one_that_the_settings_allow() -> None:
    for validation in (ValidationSettings(), ValidationSettings(min_requests=51, bake=1.5)):
        assert validation.with_bake(validation.shortest_bake).bake == validation.shortest_bake


def test_a_longer_bake_leaves_the_proxies_patient_enough_to_be_confirmed() -> None:
    assert ValidationSettings(bake=30).with_bake(300).seconds_to_confirm == 360
    assert ValidationSettings(bake=30, confirm_within=45).with_bake(300).seconds_to_confirm == 360
    assert ValidationSettings(bake=30, confirm_within=45).with_bake(20).seconds_to_confirm == 45


@pytest.mark.parametrize("demand", ["always", "never"])
def test_what_the_apps_file_decides_for_every_run_cannot_be_asked_for_in_one(demand: str) -> None:
    app = app_of(APP.repository, approval=demand, allow_older=demand)
    assert not {"require_approval", "allow_older"} & set(deploy_params(app))
    assert {"require_approval", "allow_older", "emergency"} <= set(deploy_params(APP))


def test_the_form_names_who_has_to_approve() -> None:
    params = deploy_params(app_of(APP.repository, approvers=["alice", "carol"]))
    for name in ("require_approval", "emergency"):
        assert "alice or carol approves, who did not trigger the run" in str(params[name].description)


def test_an_artifact_of_ci_takes_the_place_of_a_ref_only_where_the_apps_file_allows_it() -> None:
    assert "artifact" not in deploy_params(APP)
    allowed = deploy_params(allowing())
    params = ParamsDict(allowed)
    params.update({"artifact": "c" * 64})
    assert params.validate()["ref"] is None
    for bad in ("c" * 63, "C" * 64, "../" + "c" * 61, "c" * 64 + "\n"):
        with pytest.raises(ParamValidationError):
            conf(allowing(), artifact=bad)
