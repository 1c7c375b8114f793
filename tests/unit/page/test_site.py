"""The page as Airflow's API server serves it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.core_api import security
from airflow.api_fastapi.core_api.datamodels.plugins import PluginResponse
from airflow.utils import session as airflow_session
from fastapi import FastAPI, HTTPException
from starlette.testclient import TestClient

from bluegreen.page import reading, site
from bluegreen.page.site import Page
from tests.unit.airflow_database import Database, airflow_database
from tests.unit.page_records import NOW, record

SHOP, BLOG = "bluegreen_deploy__shop", "bluegreen_deploy__blog"
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


class Manager:
    """Airflow's auth manager, as far as the page asks it.

    :param may_read: by user, the DAGs.
    :param refused: what nobody may read of them.
    """

    def __init__(self) -> None:
        self.may_read: dict[str, set[str]] = {"alice": {SHOP, BLOG}, "bob": {BLOG}, "eve": set()}
        self.refused: set[str] = set()

    async def get_user_from_token(self, token: str) -> str:
        if token not in self.may_read:
            raise HTTPException(403, "Forbidden")
        return token

    def get_authorized_dag_ids(self, *, user: str, session: Any) -> set[str]:
        return self.may_read[user]

    def is_authorized_dag(self, *, method: str, access_entity: Any, user: str) -> bool:
        assert method == "GET"
        return access_entity.value not in self.refused


@pytest.fixture
def database() -> Iterator[Database]:
    with airflow_database() as made:
        for dag_id in (SHOP, BLOG, "bluegreen_status__shop"):
            made.dag(dag_id)
        yield made


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch, database: Database) -> Manager:
    made = Manager()
    monkeypatch.setattr(security, "get_auth_manager", lambda: made)
    monkeypatch.setattr(airflow_app, "get_auth_manager", lambda: made)
    monkeypatch.setattr(airflow_session, "create_session", lambda scoped: database.session())
    return made


def client(user: str = "", base: str = "") -> TestClient:
    server = FastAPI(root_path=base)
    server.mount("/bluegreen", Page())

    @server.get("/other")
    def other() -> str:
        return "well"

    headers = {"Cookie": f"_token={user}"} if user else {}
    return TestClient(server, headers=headers, follow_redirects=False, raise_server_exceptions=False)


@pytest.mark.usefixtures("manager")
def test_a_reader_sees_the_apps_whose_dags_they_may_read_and_no_other_name() -> None:
    assert "shop" in client("alice").get("/bluegreen/").text
    for path in ("/bluegreen/", "/bluegreen/apps", "/bluegreen/?app=shop"):
        for user in ("bob", "eve"):
            answer = client(user).get(path)
            assert answer.status_code == 200
            assert "bluegreen_deploy__shop" not in answer.text
            assert "app-shop" not in answer.text
    assert "app-blog" in client("bob").get("/bluegreen/apps").text
    assert "no app here" in client("eve").get("/bluegreen/apps").text


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("user", ["", "mallory"])
def test_without_a_login_nothing_is_shown(user: str) -> None:
    page, part = client(user).get("/bluegreen/"), client(user).get("/bluegreen/apps")
    assert (page.status_code, page.headers["location"]) == (303, "/auth/login?next=%2Fbluegreen%2F")
    assert (part.status_code, part.text) == (401, "You are not logged in to Airflow.\n")


@pytest.mark.usefixtures("manager")
def test_a_token_is_a_login_too() -> None:
    assert "app-shop" in client().get("/bluegreen/", headers={"Authorization": "Bearer alice"}).text


@pytest.mark.parametrize("entity", ["RUN", "TASK_INSTANCE", "XCOM"])
def test_who_may_not_read_runs_tasks_or_xcoms_sees_no_app(manager: Manager, entity: str) -> None:
    manager.refused.add(entity)
    assert "no app here" in client("alice").get("/bluegreen/").text


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_page_is_only_read(method: str) -> None:
    assert client("alice").request(method, "/bluegreen/").status_code == 405
    assert client("alice").request(method, "/bluegreen/apps").status_code == 405


@pytest.mark.usefixtures("manager")
def test_a_strangers_text_is_shown_as_text(database: Database) -> None:
    asset = database.asset("bluegreen_runs__shop")
    run = database.run(SHOP, SCRIPT, NOW)
    database.task(SHOP, SCRIPT, "resolve_ref")
    database.xcom(run, SHOP, SCRIPT, "resolve_ref", key="commit", value=SCRIPT, timestamp=NOW)
    nasty = {"ref": SCRIPT, "message": SCRIPT, "triggered_by": SCRIPT, "subject": SCRIPT, "run_id": SCRIPT}
    nasty |= {"dag_id": f"../../{SCRIPT}"}
    database.event(asset, SHOP, SCRIPT, record(**nasty), NOW)
    html = client("alice").get("/bluegreen/?app=shop").text
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "/dags/..%2F..%2F%3Cscript%3E" in html


@pytest.mark.usefixtures("manager")
def test_the_name_of_the_app_in_the_address_is_not_trusted() -> None:
    html = client("alice").get("/bluegreen/", params={"app": f'"{SCRIPT}'}).text
    assert "<script>alert" not in html
    assert "<img" not in html


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("path", ["/", "/apps", "/assets/page.css", "/assets/page.js", "/assets/none", "/x"])
def test_nothing_is_loaded_from_elsewhere_and_nobody_may_frame_the_page(path: str) -> None:
    answer = client("alice").get(f"/bluegreen{path}")
    if path == "/x":
        assert answer.status_code == 404
        return
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.usefixtures("manager")
def test_style_and_script_are_files_and_nothing_of_either_is_in_the_page() -> None:
    html = client("alice").get("/bluegreen/").text
    assert html.count("<script") == 1
    assert ' src="/bluegreen/assets/page.js"' in html
    assert "<style" not in html
    assert " style=" not in html
    assert " on" not in "".join(part.split(">")[0] for part in html.split("<") if "=" in part).lower()
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        answer = client().get(f"/bluegreen/assets/{name}")
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("name", ["page.html.j2", "../site.py", "..%2Fsite.py", "%2Fetc%2Fpasswd"])
def test_no_other_file_is_an_asset(name: str) -> None:
    assert client("alice").get(f"/bluegreen/assets/{name}").status_code == 404


@pytest.mark.usefixtures("manager")
def test_links_lead_to_an_airflow_below_a_path() -> None:
    html = client("alice", base="/ops/airflow").get("/ops/airflow/bluegreen/").text
    assert 'href="/ops/airflow/dags/bluegreen_deploy__shop"' in html
    assert 'href="/ops/airflow/bluegreen/assets/page.css"' in html


@pytest.mark.usefixtures("manager")
def test_an_error_is_one_line_of_this_page_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("password=secret")

    monkeypatch.setattr(reading, "read", fail)
    server = client("alice")
    answer = server.get("/bluegreen/")
    assert (answer.status_code, answer.text) == (
        500,
        "The page cannot be shown: see the log of Airflow's API server.\n",
    )
    assert "password=secret" in caplog.text
    assert server.get("/other").json() == "well"


@pytest.mark.usefixtures("manager")
def test_a_busy_database_does_not_keep_a_request_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "MOST_READING", 0)
    monkeypatch.setattr(site, "READING_SECONDS", 0.01)
    answer = client("alice").get("/bluegreen/")
    assert (answer.status_code, answer.text.split(".")[0]) == (503, "Airflow is busy")


def test_airflows_api_server_has_the_page_and_its_navigation_leads_there() -> None:
    from airflow import plugins_manager

    apps, _ = plugins_manager.get_fastapi_plugins()
    [made] = [one for one in apps if isinstance(one["app"], Page)]
    assert made["url_prefix"] == "/bluegreen"
    [plugin] = [one for one in plugins_manager.get_plugin_info() if one["name"] == "bluegreen"]
    shown = PluginResponse.model_validate(plugin)
    [view] = shown.external_views
    assert (view.name, view.href, view.destination, view.category) == (
        *("Deployments", "bluegreen/", "nav"),
        "browse",
    )
    assert not view.nav_top_level


def test_a_process_that_serves_nothing_imports_nothing_for_the_page() -> None:
    program = (
        "import sys; import bluegreen.page.site; "
        "print(*{'starlette', 'fastapi', 'jinja2', 'airflow'} & set(sys.modules))"
    )
    paths = "plugins:include"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": paths},
        timeout=60,
    )
    assert done.stdout.strip() == ""
