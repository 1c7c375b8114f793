"""The page of deployments in a real browser, by a real API server; the pictures stay in ``build/page``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests

from demo.airflow_settings import ROOT
from tests.page.airflow_site import Site, site
from tests.sandbox.browser.browser import Browser, browser
from tests.unit.page_records import NEW, OLD, droplet, record, status
from tests.waiting import until

pytestmark = pytest.mark.timeout(450)

PICTURES = ROOT / "build" / "page"
NASTY = "<script>document.title='broken'</script><img src=x onerror=alert(1)> Fix the cart"
READ = ("DAG Runs", "Task Instances", "XComs")
ROLES = [
    {"name": "reads my_perl_app", "resource": resource, "action": "can_read"}
    for resource in ("DAG:bluegreen_deploy__my_perl_app", *READ)
]
USERS = {"alice": "Viewer", "bob": "reads my_perl_app", "eve": "Public", "carol": "Op"}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("page"), USERS, ROLES) as made:
        fill(made)
        yield made


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser(PICTURES) as made:
        yield made


def fill(made: Site) -> None:
    """Fill the database with an app in each state."""
    now = datetime.now(UTC)
    for app in ("shop", "wiki"):
        for kind in ("deploy", "rollback", "dry_run", "status", "certificates"):
            made.database.dag(f"bluegreen_{kind}__{app}")
    _ended(
        made,
        "my_perl_app",
        now,
        ("live and confirmed", "refused by policy", "rolled back", "live and confirmed"),
    )
    _ended(made, "shop", now, ("live and confirmed", "live and confirmed"))
    _status(made, "shop", now)
    _deploy_at_work(made, now)


def _ended(made: Site, app: str, now: datetime, outcomes: tuple[str, ...]) -> None:
    asset = made.database.asset(f"bluegreen_runs__{app}")
    for number, outcome in enumerate(outcomes):
        at, dag, run_id = now - timedelta(hours=number + 1), f"bluegreen_deploy__{app}", f"manual__{number}"
        run = made.database.run(dag, run_id, at)
        made.database.task(dag, run_id, "resolve_ref")
        about = {"key": "commit", "timestamp": at, "value": NASTY}
        made.database.xcom(run, dag, run_id, "resolve_ref", **about)
        colors = ("green", "blue") if number % 2 == 0 else ("blue", "green")
        facts = {"dag_id": dag, "run_id": run_id, "ended": at.isoformat(), "to": colors[0], "from": colors[1]}
        facts |= {"revision": (NEW, OLD)[number % 2], "live": colors["live" not in outcome]}
        made.database.event(asset, dag, run_id, record(outcome, **facts), at)


def _status(made: Site, app: str, now: datetime) -> None:
    found = status(
        droplet("shop-blue-1", "blue", OLD),
        droplet("shop-green-1", "green", NEW),
        droplet("shop-green-2", "green", NEW, haproxy={"lb-1": "down L4CON"}),
    )
    dag, at = f"bluegreen_status__{app}", now - timedelta(minutes=3)
    run = made.database.run(dag, "manual__1", at)
    made.database.task(dag, "manual__1", "status")
    made.database.xcom(run, dag, "manual__1", "status", key="return_value", value=found.value, timestamp=at)


def _deploy_at_work(made: Site, now: datetime) -> None:
    dag, run_id, database = "bluegreen_deploy__shop", "manual__now", made.database
    run = database.run(dag, run_id, now, "running", conf={"ref": "v3"}, triggering_user_name="alice")
    states = {"resolve_ref": "success", "build": "success", "switch_traffic": "success"}
    for task_id, state in states.items():
        database.task(dag, run_id, task_id, state, start_date=now)
    database.task(dag, run_id, "final_validation", "running", start_date=now)
    asked = database.task(dag, run_id, "approval", "awaiting_input", start_date=now)
    database.question(asked, "Switch v3 live?", now)
    seconds = now.timestamp()
    points = [[5.0 * n, 400 * n, 3 * max(0, n - 6)] for n in range(1, 12)]
    progress = {"began": seconds, "ends": seconds + 300, "reverts_at": seconds + 600, "points": points}
    for task_id, key, value in (
        ("switch_traffic", "return_value", {"lb-1": {"from": "green", "to": "blue"}}),
        ("resolve_ref", "return_value", "c" * 40),
        ("resolve_ref", "commit", NASTY),
        ("final_validation", "progress", progress),
    ):
        database.xcom(run, dag, run_id, task_id, key=key, value=value, timestamp=now)


def login(page: Browser, airflow: Site, user: str) -> None:
    """Open the page as somebody; without a login it leads to Airflow's."""
    page.open(f"{airflow.url}/auth/logout")
    page.open(f"{airflow.url}/bluegreen/")
    page.type_into("username", user)
    page.type_into("password", airflow.password)
    page.press("\ue007")


def test_a_reader_follows_a_deploy_and_no_text_becomes_a_program(airflow: Site, page: Browser) -> None:
    login(page, airflow, "alice")
    page.read("Waits for an approval")
    page.appear(1200, 1500)
    page.picture("light")
    assert "Fix the cart" in page.evaluate("document.body.textContent")
    assert page.evaluate("document.title") == "Deployments · Airflow"
    assert page.evaluate("document.images.length") == 0
    page.appear(1200, 1500, dark=True)
    page.picture("dark")
    for width in (320, 390):
        page.appear(width, 1200)
        page.picture(f"telephone-{width}")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, width
    page.appear(1200, 1500)
    assert [one for one in page.messages() if "favicon" not in one and "SEVERE" in one] == []


def test_the_page_is_used_by_keyboard_and_keeps_the_focus_when_it_loads_itself_again(
    airflow: Site, page: Browser
) -> None:
    page.open(f"{airflow.url}/bluegreen/")
    page.press("\ue004")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the apps"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(4):
        page.press("\ue004")
    focused = page.evaluate("document.activeElement.href")
    page.evaluate("(window.before = document.getElementById('loaded')) && load() && 1")
    until(lambda: page.evaluate("window.before !== document.getElementById('loaded')"), "it is loaded again")
    assert page.evaluate("document.activeElement.href") == focused


def test_airflows_navigation_leads_to_the_page(airflow: Site, page: Browser) -> None:
    login(page, airflow, "carol")
    page.read("my_perl_app")
    page.open(f"{airflow.url}/")
    page.click("Browse")
    page.read("Deployments")
    page.picture("navigation")
    page.click("Deployments", tag="a")
    page.go_to_new_tab()
    page.read("my_perl_app")
    assert page.evaluate("location.pathname") == "/bluegreen/"


def test_who_may_read_one_app_sees_that_one_and_who_may_read_none_sees_no_name(
    airflow: Site, page: Browser
) -> None:
    login(page, airflow, "bob")
    page.read("my_perl_app")
    assert "shop" not in page.evaluate("document.documentElement.outerHTML")
    for path in ("", "apps", "?app=shop"):
        for user, names in (("bob", {"my_perl_app"}), ("eve", set())):
            headers = airflow.headers(user)
            answer = requests.get(f"{airflow.url}/bluegreen/{path}", headers=headers, timeout=30)
            found = {name for name in ("my_perl_app", "shop", "wiki") if f'id="app-{name}"' in answer.text}
            assert found <= names, (user, path)
    answer = requests.get(f"{airflow.url}/bluegreen/apps", timeout=30)
    assert (answer.status_code, answer.text) == (401, "You are not logged in to Airflow.\n")


def test_a_hundred_apps(airflow: Site, page: Browser) -> None:
    """Its seconds are in ``build/page/figures.json``; how many queries it takes is a unit test."""
    now, figures, headers = datetime.now(UTC), {}, airflow.headers("alice")

    def seconds() -> float:
        best = 99.0
        for _ in range(5):
            began = time.monotonic()
            answer = requests.get(f"{airflow.url}/bluegreen/apps", headers=headers, timeout=60)
            best = min(best, time.monotonic() - began)
            assert answer.status_code == 200
        return round(best, 3)

    figures["3 apps"] = seconds()
    for number in range(97):
        app = f"app{number:02}"
        for kind in ("deploy", "rollback", "dry_run", "status"):
            airflow.database.dag(f"bluegreen_{kind}__{app}")
        _ended(airflow, app, now, ("live and confirmed", "rolled back") * 6)
        _status(airflow, app, now)
    figures["100 apps"] = seconds()
    (PICTURES / "figures.json").write_text(json.dumps(figures))
    login(page, airflow, "alice")
    page.read("app96")
    assert page.evaluate("document.querySelectorAll('section.app').length") == 100
