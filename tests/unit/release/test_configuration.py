"""What a release runs with, from settings, an Airflow connection and templates of the repository."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import check_configuration
from bluegreen.errors import SettingsError
from bluegreen.release.configuration import (
    Secrets,
    configuration_salt,
    make_configuration,
    template_texts,
    templates_of,
)
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.delivered_files import DeliveredFile

SALT = configuration_salt(b"a key", "my_perl_app")
PEM = "-----BEGIN PRIVATE KEY-----\nMIIE$\"'\\\n-----END PRIVATE KEY-----\n"


def app(*files: dict[str, Any], **environment: str) -> App:
    delivered = tuple(DeliveredFile.model_validate(one) for one in files)
    return load_app("my_perl_app").model_copy(update={"files": delivered, "environment": environment})


def template(path: str, of: str) -> dict[str, Any]:
    return {"path": path, "content_from": {"template": of}}


def contents(configuration: Any) -> dict[str, str]:
    return {one["path"]: base64.b64decode(one["content"]).decode() for one in configuration["files"]}


def test_variables_of_the_connection_count_more_and_arrive_as_they_are() -> None:
    secrets = Secrets(variables={"MODE": "eu", "KEY": PEM})
    made = make_configuration(app(MODE="us", PORT="8080"), secrets, {}, SALT)
    assert made["variables"] == {"MODE": "eu", "PORT": "8080", "KEY": PEM}
    check_configuration(made)


def test_everything_that_is_delivered_decides_the_digest_and_its_order_does_not() -> None:
    def digest(secrets: Secrets, *files: dict[str, Any], salt: str = SALT) -> str:
        return make_configuration(app(*files, A="1"), secrets, {"t": "text", "u": "other"}, salt)["digest"]

    one, two = template("config/a", "t"), template("config/b", "u")
    base = digest(Secrets(variables={"B": "2", "C": "3"}), one, two)
    assert digest(Secrets(variables={"C": "3", "B": "2"}), two, one) == base
    others = {
        digest(Secrets(variables={"B": "2"}), one, two),
        digest(Secrets(variables={"B": "2", "C": "4"}), one, two),
        digest(Secrets(variables={"B": "2", "C": "3"}), one),
        digest(Secrets(variables={"B": "2", "C": "3"}), one, template("config/b", "t")),
        digest(Secrets(variables={"B": "2", "C": "3"}), one, {**two, "mode": "0440"}),
        digest(Secrets(variables={"B": "2", "C": "3"}), one, two, salt=configuration_salt(b"k", "x")),
    }
    assert len(others) == 6
    assert base not in others


def test_a_file_is_filled_in_or_taken_from_the_connection() -> None:
    files = (
        template("config/db.yaml", "config/db.yaml.tmpl"),
        {"path": "/etc/app-my_perl_app/tls.pem", "content_from": {"connection": "tls"}, "mode": "0440"},
    )
    text = "password: '{{ PASSWORD }}{{PASSWORD}}'\nother: {{ not one }} {% for %} $PASSWORD {{ 7*7 }}\n"
    secrets = Secrets(variables={"PASSWORD": r"\1{{ A }}$"}, files={"tls": PEM})
    made = make_configuration(app(*files), secrets, {"config/db.yaml.tmpl": text}, SALT)
    expected = text.replace("{{ PASSWORD }}", r"\1{{ A }}$").replace("{{PASSWORD}}", r"\1{{ A }}$")
    assert contents(made) == {"config/db.yaml": expected, "tls.pem": PEM}
    assert {one["path"]: one["mode"] for one in made["files"]} == {"config/db.yaml": 0o640, "tls.pem": 0o440}


@pytest.mark.parametrize(
    ("files", "secrets", "text"),
    [
        ([template("a", "t")], Secrets(), r"files: a: its template needs the variable MISSING"),
        (
            [{"path": "a", "content_from": {"connection": "tls"}}],
            Secrets(files={"other": "hunter2"}),
            r"files: a: its content is 'tls' below",
        ),
        ([], Secrets(variables={"A": "hunter2\r"}), r"\bA\b.*U\+000D"),
        ([], Secrets(variables={"PERL5LIB": "hunter2"}), "PERL5LIB"),
        ([], Secrets(variables={"A": "hunter2\ud800"}), "A"),
        (
            [{"path": "a", "content_from": {"connection": "tls"}}],
            Secrets(files={"tls": "hunter2\ud800"}),
            "no text in UTF-8",
        ),
        (
            [{"path": "a", "content_from": {"connection": "tls"}}],
            Secrets(files={"tls": "hunter2" * 300_000}),
            "a has 2100000 bytes",
        ),
    ],
)
def test_what_would_not_arrive_is_refused_in_one_line_that_shows_no_secret(
    files: list[dict[str, Any]], secrets: Secrets, text: str
) -> None:
    with pytest.raises(SettingsError, match=text) as raised:
        make_configuration(app(*files), secrets, {"t": "{{ MISSING }}"}, SALT)
    assert "\n" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_template_cannot_grow_without_bound() -> None:
    secrets = Secrets(variables={"A": "x" * 50_000})
    with pytest.raises(SettingsError, match="is larger than 1 MB"):
        make_configuration(app(template("a", "t")), secrets, {"t": "{{A}}" * 200_000}, SALT)


@pytest.mark.parametrize(
    ("extra", "variables", "files"),
    [
        ({}, {}, {}),
        ({"A": "1", "B": "{}"}, {"A": "1", "B": "{}"}, {}),
        ({"environment": {"A": "1"}, "files": {"tls": PEM}}, {"A": "1"}, {"tls": PEM}),
        ({"files": {"tls": PEM}}, {}, {"tls": PEM}),
    ],
)
def test_a_connection_has_variables_or_variables_and_files(
    extra: dict[str, Any], variables: dict[str, str], files: dict[str, str]
) -> None:
    assert Secrets.parse(extra, "shop_env") == Secrets(variables, files)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"A": "hunter2", "PORT": 5432}, "'shop_env': 'A' of its extra is not usable"),
        ({"environment": {"A": "hunter2", "PORT": 5432}}, "'PORT' in environment of its extra is no string"),
        ({"environment": ["hunter2"]}, "environment in its extra is no object"),
        ({"environment": {}, "file": {"a": "hunter2"}}, "'file' of its extra is not usable"),
        ({"files": {"a": {"hunter2": 1}}}, "'a' in files of its extra is no string"),
    ],
)
def test_a_connection_that_is_not_usable_is_named_and_its_values_are_not(
    extra: dict[str, Any], text: str
) -> None:
    with pytest.raises(SettingsError, match=text) as raised:
        Secrets.parse(extra, "shop_env")
    assert "hunter2" not in str(raised.value)


def test_secrets_are_not_shown_by_their_own_description() -> None:
    assert "hunter2" not in repr(Secrets({"A": "hunter2"}, {"a": "hunter2"}))


def archive(path: Path, **members: bytes | None) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(content or b"")
            made.addfile(member, io.BytesIO(content or b""))
    return path


def test_templates_are_read_from_the_source(tmp_path: Path) -> None:
    one = app(template("a", "t"), template("b", "t"), {"path": "c", "content_from": {"connection": "x"}})
    assert templates_of(one) == ["t"]
    source = archive(tmp_path / "source.tar.gz", t="größer {{ A }}".encode(), u=b"\xff")
    assert template_texts(one, source) == {"t": "größer {{ A }}"}
    assert template_texts(app(), tmp_path / "is-not-opened") == {}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"u": b""}, "the template t is not in the repository"),
        ({"t": None}, "the template t is not in the repository, or is no file there"),
        ({"t": b"\xff"}, "the template t is not UTF-8"),
        ({"t": b"x" * ((1 << 20) + 1)}, "the template t is larger than 1 MB"),
    ],
)
def test_a_template_that_is_none_is_named(
    tmp_path: Path, members: dict[str, bytes | None], text: str
) -> None:
    with pytest.raises(SettingsError, match=text):
        template_texts(app(template("a", "t")), archive(tmp_path / "source.tar.gz", **members))
