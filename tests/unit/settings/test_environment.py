"""Variables of an app's environment: what is accepted arrives as it is written, and the rest is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bluegreen.errors import SettingsError
from bluegreen.settings.environment import LARGEST_ENVIRONMENT, LARGEST_VALUE, check_variables
from tests.unit.app_settings import settings_of


@pytest.mark.parametrize(
    "written",
    [
        *("8080", "0644", "1_000", "0x1F", "1.10", "1e3", ".5", "12:30", "-7", "2026-01-01"),
        *("yes", "no", "on", "Off", "true", "NULL1", "info", "https://example.com/a?b=c#d"),
    ],
)
def test_a_value_without_quotes_is_the_text_in_the_file(tmp_path: Path, written: str) -> None:
    app = settings_of(tmp_path, more=f"environment:\n  NAME: {written}\n")
    assert app.environment == {"NAME": written}


def test_a_name_is_the_text_in_the_file_as_well(tmp_path: Path) -> None:
    app = settings_of(tmp_path, more="environment: {NO: 1, ON: 2, _1: 3}\n")
    assert app.environment == {"NO": "1", "ON": "2", "_1": "3"}


def test_an_alias_is_a_text_in_the_environment_and_a_number_elsewhere(tmp_path: Path) -> None:
    app = settings_of(tmp_path, "workers: &workers 012", more="environment: {WORKERS: *workers}\n")
    assert (app.server.workers, app.environment) == (10, {"WORKERS": "012"})


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "  two  ",
            "$HOME",
            "${HOME}",
            "$$",
            "%h",
            "%%",
            "\\",
            "\\n",
            "a\\\\b",
            "'",
            '"',
            "`id`",
            "$(id)",
        ),
        *(
            "a\nb",
            "a\n",
            "\n",
            "\ta\t",
            '{"host":"10.0.0.1"}',
            'pa"ss"wo\'rd',
            "# no comment",
            "a # b",
            "a;b",
        ),
        *(
            "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n",
            "=",
            "a=b",
            "\u00e4\u20ac\U0001f42a",
            "\u0085\u2028",
            "x" * LARGEST_VALUE,
        ),
    ],
)
def test_a_value_may_hold_any_text(tmp_path: Path, value: str) -> None:
    app = settings_of(tmp_path, more=yaml.safe_dump({"environment": {"NAME": value}}))
    assert app.environment == {"NAME": value}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{A: }", 'environment.A: found None: a value is missing; write "" for an empty one'),
        ("{A: null}", "environment.A: found None: a value is missing"),
        ("{A: [x]}", "environment.A: found ['x']: Input should be a valid string"),
        ("{A: {B: x}}", "environment.A: found {'B': 'x'}: Input should be a valid string"),
        ("[A=x]", "environment: found ['A=x']"),
        ("{1A: x}", "environment: '1A' is not a variable's name: allowed are letters, digits and _"),
        ("{A-B: x}", "environment: 'A-B' is not a variable's name"),
        ("{'': x}", "environment: '' is not a variable's name"),
        ("{'A ': x}", "environment: 'A ' is not a variable's name"),
        ("{'A=B': x}", "environment: 'A=B' is not a variable's name"),
        ('{"A\\n": x}', "environment: 'A\\n' is not a variable's name"),
        ("{\u00c4: x}", "environment: '\u00c4' is not a variable's name"),
        ("{PATH: x}", "environment: PATH is set by the project; local/bin is in it already"),
        ("{PERL5LIB: x}", "environment: PERL5LIB is set by the project; server.lib adds directories to it"),
        ("{BLUEGREEN_X: x}", "environment: BLUEGREEN_X: names that begin with BLUEGREEN_ are the project's"),
        *(
            (f"{{{name}: x}}", f"environment: {name} is set by systemd for each service")
            for name in ("HOME", "USER", "LOGNAME", "SHELL", "INVOCATION_ID", "STATE_DIRECTORY", "LISTEN_FDS")
        ),
        (
            '{A: "a\\0b"}',
            "environment: the value of A has the character U+0000, which systemd does not pass on",
        ),
        ('{A: "a\\rb"}', "environment: the value of A has the character U+000D"),
        ('{A: "\\x1b[1m"}', "environment: the value of A has the character U+001B"),
        ('{A: "\\x7f"}', "environment: the value of A has the character U+007F"),
        ('{A: "\\uFFFE"}', "environment: the value of A has the character U+FFFE"),
        ('{A: "\\uFDD0"}', "environment: the value of A has the character U+FDD0"),
        ('{A: "\\U0001FFFF"}', "environment: the value of A has the character U+1FFFF"),
        ('{A: "\\uD800"}', "half of a surrogate pair"),
        (
            f"{{A: {'x' * (LARGEST_VALUE + 1)}}}",
            "environment: the value of A has 65537 bytes; allowed are 65536",
        ),
    ],
)
def test_what_would_not_arrive_is_refused(tmp_path: Path, written: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        settings_of(tmp_path, more=f"environment: {written}\n")
    assert str(caught.value).startswith(f"{tmp_path}/shop.yaml: ")
    assert len(str(caught.value)) < 400


def test_all_variables_together_have_a_bound() -> None:
    variables = {f"A{number}": "x" * LARGEST_VALUE for number in range(LARGEST_ENVIRONMENT // LARGEST_VALUE)}
    with pytest.raises(ValueError, match=r"all variables together have 2621\d\d bytes; allowed are 262144"):
        check_variables(variables)


def test_no_message_has_a_value() -> None:
    with pytest.raises(ValueError, match="the value of DB_PASSWORD") as caught:
        check_variables({"DB_PASSWORD": "hunter2\r"})
    assert "hunter2" not in str(caught.value)
