"""A search that finds nothing proves something only if it would have found a secret."""

from __future__ import annotations

import base64
import gzip
import json
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.sandbox.examples.secret_search import SecretSearch
from tests.waiting import until

MARK = "0123456789abcdef01234567"
FORMS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "base64": lambda text: base64.b64encode(text.encode()),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "JSON": lambda text: json.dumps(text).encode(),
    "quoted for a shell": lambda text: shlex.quote(text).encode(),
    "quoted for a URL": lambda text: quote(text, safe="").encode(),
    "compressed": lambda text: gzip.compress(text.encode()),
}


@pytest.fixture
def search() -> SecretSearch:
    return SecretSearch({"PASSWORD": MARK})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", ["", "a", "$'", 'p"\n'])
def test_a_secret_is_found_in_each_form_wherever_it_begins(
    search: SecretSearch, form: str, before: str
) -> None:
    assert search.names_in(FORMS[form](f"{before}{MARK}\n'$")) == {"PASSWORD"}
    assert search.names_in(FORMS[form](f"{before}{MARK[:-2]}\n'$")) == set()


def test_a_secret_is_found_in_files_and_in_any_column_of_a_database(
    search: SecretSearch, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/a.tar.gz").write_bytes(gzip.compress(MARK.encode()))
    (tmp_path / "other").write_text("nothing")
    database = tmp_path / "database"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE xcom (key TEXT, value BLOB)")
        connection.execute("INSERT INTO xcom VALUES ('a', ?)", (base64.b64encode(MARK.encode()),))
        connection.execute("INSERT INTO xcom VALUES ('b', 'nothing')")
    assert search.rows_of(database) == {"xcom.value": {"PASSWORD"}}
    database.unlink()
    assert search.files_below(tmp_path) == {"below/a.tar.gz": {"PASSWORD"}}


def test_a_secret_is_found_on_a_command_line(search: SecretSearch) -> None:
    with search.watching_processes() as seen:
        command = [sys.executable, "-c", "input()", f"--password={MARK}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            until(lambda: seen, "it is seen")
            process.communicate(b"\n")
    assert set().union(*seen.values()) == {"PASSWORD"}
