"""Every setting, task, message and metric that the code has is on a page, and a page has no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
from pydantic import BaseModel, Field

from agent.protocol import Code, Verb
from bluegreen.dag_building.task_docs import TASKS
from bluegreen.run.outcome import UNREPORTED, Outcome
from bluegreen.settings.app import App
from bluegreen.settings.delivered_files import DeliveredFile
from bluegreen.settings.hooks import Hook
from bluegreen.settings.processes import ProcessSettings, TimerSettings
from bluegreen.settings.section import Section
from bluegreen.settings.services import Service
from bluegreen.settings.tls import CertificateSettings
from scripts.reference import agent, messages, settings
from scripts.reference.example import example, lines_of
from scripts.reference.models import documentation, settings_of

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Return the dotted names of all settings, read from the models themselves."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        section = next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if section and get_origin(field.annotation) not in (list, dict):
            yield f"{prefix}{name}"
            yield from keys_of(section, f"{prefix}{name}.")
        elif model is not App or name != "id":
            yield f"{prefix}{name}"


def test_the_settings_page_has_each_setting_and_no_other() -> None:
    headings = re.findall(r"^##+ `(.*)`$", settings.page(ROOT), re.MULTILINE)
    entries = [f"hooks.*[].{name}" for name in Hook.model_fields]
    entries += keys_of(DeliveredFile, "files[].")
    entries += keys_of(ProcessSettings, "processes.*.")
    entries += keys_of(TimerSettings, "timers.*.")
    entries += keys_of(Service, "services.*.")
    entries += keys_of(CertificateSettings, "traffic.tls.certificates[].")
    assert sorted(headings) == sorted([*keys_of(App), *entries])


def test_every_setting_that_a_page_names_exists() -> None:
    """The changelog and the notes name what was; a file such as ``traffic.map`` is no setting."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / settings.REFERENCE]
    known = {*keys_of(App)}
    sections = "|".join(sorted({key.partition(".")[0] for key in known if "." in key}))
    named = {
        (page.relative_to(ROOT).as_posix(), name)
        for page in pages
        if page.name != "CHANGELOG.md" and "notes" not in page.parts
        for name in re.findall(rf"`((?:{sections})\.[a-z0-9_.]+)", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    unknown = {(page, name) for page, name in named if name not in {*known, "traffic.map", "server.py"}}
    assert unknown == set()


@pytest.mark.parametrize(
    ("key", "described"),
    [
        ("server.port", "*whole number, 1,024 to 65,535*; default `8080`"),
        ("fleet.region", "*string*; **required**"),
        (
            "fleet.entry_point",
            '*one of `droplet`, `reserved_ip`, `managed_load_balancer`*; default `"droplet"`',
        ),
        ("validation.max_error_rate", "*number, at least 0, less than 1*; default `0.01`"),
        ("traffic.preview_allow", "*list of: IPv4 network or IPv6 network*; default `[]`"),
        ("server.stop_idle_after", "*whole number, 10 to 2,592,000 or `null`*; default `null`"),
    ],
)
def test_a_setting_shows_its_type_its_bounds_and_its_default(key: str, described: str) -> None:
    assert f"`{key}`\n\n{described}\n" in settings.page(ROOT)


def test_a_setting_shows_what_its_model_says_about_it() -> None:
    threshold = "Good answers in a row, from every droplet, before traffic may move."
    page = settings.page(ROOT)
    assert f"; default `3`\n\n{threshold}\n" in page
    assert "\n\n```yaml\nservices: {database: {address_from: DATABASE_URL}" in page


def test_the_reference_file_is_what_make_docs_makes_of_the_models() -> None:
    assert (ROOT / settings.REFERENCE).read_text(encoding="utf-8") == example(), "run make docs"


class Undocumented(Section):
    port: int = 1
    """What it listens on."""
    workers: int = 2


def test_a_setting_that_its_model_does_not_explain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a string below Undocumented\.workers has to explain it"):
        documentation(Undocumented)


class Limits(Section):
    seconds: Annotated[int, Field(ge=1)] = 9
    """Seconds that it may take."""


class Rule(Section):
    name: str
    """What it is called."""


class Sections(Section):
    limits: Limits = Limits()
    """What is limited. For example:
      limits: {seconds: 3}
    Nothing else is.
    """
    more: Limits | None = None
    """Further limits."""
    rules: list[Rule] = Field([], examples=[[{"name": "* all"}]])
    """What has to be so."""


def test_the_reference_file_shows_sections_lists_and_examples() -> None:
    shown = "\n".join(line for setting in settings_of(Sections) for line in lines_of(setting))
    assert (
        shown
        == """\
# What is limited. For example:
#   limits: {seconds: 3}
# Nothing else is.
limits:
  # Seconds that it may take.
  # seconds: 9
# Further limits.
# more:
#   Seconds that it may take.
#   seconds: 9
# What has to be so.
# An entry has these keys:
#   name: What it is called.
# rules: [{name: "* all"}]"""
    )


def test_the_page_of_the_agent_has_each_verb_and_each_code_and_no_other() -> None:
    verbs, rest = agent.page(ROOT).split("## Codes")
    codes, described = rest.split("## Requests and answers")
    assert re.findall(r"^\| \[`(.*?)`\].* \| \S.* \|$", verbs, re.MULTILINE) == [str(verb) for verb in Verb]
    assert re.findall(r"^\| `(.*?)` \| \w", codes, re.MULTILINE) == [str(code) for code in Code]
    assert re.findall(r"^### `(.*?)`$", described, re.MULTILINE) == [str(verb) for verb in Verb]


def test_the_page_of_the_tasks_is_the_file_that_airflow_shows() -> None:
    assert (DOCS / "reference" / "tasks.md").resolve() == TASKS


def test_every_message_is_on_the_page() -> None:
    page = messages.page(ROOT)
    found = messages.messages(ROOT)
    assert len(found) > 200
    assert [one.text for one in found if " ".join(one.text.split()).replace("|", "\\|") not in page] == []


@pytest.mark.parametrize(
    "text",
    [
        "connection … has no password; store a DigitalOcean API token there",
        "the key … is defined twice",
        "the user … does not exist",
        "it has no release yet, so a rollback is not possible",
        "cannot read …/REVISION: …",
    ],
)
def test_messages_are_found_however_they_are_written(text: str) -> None:
    assert text in {one.text for one in messages.messages(ROOT)}


def test_troubleshooting_explains_messages_that_exist() -> None:
    cells = _first_cells(DOCS / "troubleshooting.md")
    explained = [text for cell in cells for text in re.findall(r"`([^`]* [^`]*)`", cell)]
    assert len(explained) > 25
    known = "\n".join(source.read_text(encoding="utf-8") for source in _sources())
    known = re.sub(r"\"\s*\n\s*[a-z]?\"", "", known)
    unknown = [text for text in explained if not _occurs(text, known)]
    assert unknown == []


def _first_cells(page: Path) -> list[str]:
    return re.findall(r"^\| (.*?) \|", page.read_text(encoding="utf-8"), re.MULTILINE)


def _sources() -> Iterator[Path]:
    for folder in ("plugins", "include/agent", "include/templates"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in (".py", ".j2", ".sh", ".pl"):
                yield path


def _occurs(text: str, known: str) -> bool:
    """Whether each part of a message that does not vary stands somewhere in the code."""
    parts = [part.strip(" .,;:") for part in text.split("…")]
    return all(part in known for part in parts if len(part) > 3)


def test_every_outcome_is_explained_and_no_other() -> None:
    page = (DOCS / "audit-and-notifications.md").read_text(encoding="utf-8")
    [section] = re.findall(r"## Outcomes\n(.*?)\n## ", page, re.DOTALL)
    assert set(re.findall(r"^\| `(.*?)` \|", section, re.MULTILINE)) == {*Outcome, UNREPORTED}
