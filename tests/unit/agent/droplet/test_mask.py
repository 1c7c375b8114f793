"""What is hidden of an app's environment in what leaves a droplet."""

from __future__ import annotations

import pytest

from agent.droplet import mask


# Each read by systemd 252 itself: systemd-run --property=EnvironmentFile=… env.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=plain", "plain"),
        ("  A = spaced out  \n", "spaced out"),
        ('A={"host":"10.0.0.1"}', '{"host":"10.0.0.1"}'),
        ('A=pa"ss"word', 'pa"ss"word'),
        ('A="in quotes" ', "in quotes"),
        ("A='in $quotes \"too\"'", 'in $quotes "too"'),
        ('A="one"two', "onetwo"),
        ('A="one" "two"', "onetwo"),
        ("A=one\\\ntwo", "onetwo"),
        ("A=a\\ b\\\\c", "a b\\c"),
        ('A="a\\"b\\$c\\nd"', 'a"b$c\\nd'),
        ('A="a\\\nb"', "ab"),
        ('A="-----BEGIN\nabc\n-----END"\nB=x', "-----BEGIN\nabc\n-----END"),
        ("# A=no\n; A=no\n#A=\\\nno\nA=yes", "yes"),
        ("A=first\nA=second", "second"),
        ("A=", ""),
        ("no assignment\nA=x#y", "x#y"),
        ("A=one\r\nB=two\r\n", "one"),
        ('A="a\rb"', "a\rb"),
    ],
)
def test_environment_is_read_as_systemd_reads_it(text: str, value: str) -> None:
    assert mask.environment_in(text)["A"] == value


def hidden(text: str, **environment: str) -> str:
    shown: str = mask.Mask(environment)(text)
    return shown


def test_a_value_becomes_its_name() -> None:
    line = (
        "DBI connect('dbname=shop;host=db;password=hunter2','shop',...) failed: no route at lib/Db.pm line 3"
    )
    expected = line.replace("hunter2", "[DB_PASSWORD]")
    assert hidden(line, DB_PASSWORD="hunter2", PORT="5432") == expected


@pytest.mark.parametrize(
    "dsn",
    [
        "dbi:Pg:dbname=shop;host=db;password=hunter2",
        "postgresql://shop:hunter2@db/shop",
        '{"host": "db", "password": "hunter2"}',
        "user=shop, pwd = hunter2",
    ],
)
def test_the_secret_in_a_value_is_hidden_without_the_rest_of_it(dsn: str) -> None:
    assert "hunter2" not in hidden("connect('dbname=shop;password=hunter2') failed", DSN=dsn)
    assert "hunter2" not in hidden(f"cannot connect to {dsn}", DSN=dsn)


@pytest.mark.parametrize(
    "spelling",
    [
        "p@ss/wörd 'q\" $x\\y",
        "p%40ss%2Fw%C3%B6rd%20%27q%22%20%24x%5Cy",
        "p%40ss%2fw%c3%b6rd%20%27q%22%20%24x%5cy",
        "p%40ss%2Fw%C3%B6rd+%27q%22+%24x%5Cy",
        "p@ss/w\\u00f6rd 'q\\\" $x\\\\y",
        "p@ss/wörd 'q\\\" $x\\\\y",
        "p@ss/wörd &#x27;q&quot; $x\\y",
        "p@ss/wörd \\'q\" $x\\\\y",
        "p\\@ss/wörd 'q\\\" \\$x\\\\y",
        "p@ss/wörd '\\''q\" $x\\y",
        "cEBzcy93w7ZyZCAncSIgJHhceQ==",
    ],
)
def test_a_value_is_hidden_however_it_is_spelled(spelling: str) -> None:
    assert hidden(f"<{spelling}>", KEY="p@ss/wörd 'q\" $x\\y") == "<[KEY]>"


def test_each_line_of_a_value_of_several_lines_is_hidden() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nAbCdEfGh\n-----END PRIVATE KEY-----"
    assert hidden("read MIIEvQIBADANBg\nand AbCdEfGh", KEY=key) == "read [KEY]\nand [KEY]"


def test_a_longer_value_goes_before_a_part_of_it() -> None:
    assert hidden("user-token-1234", A="token-1234", B="user-token-1234") == "[B]"


def test_short_values_are_hidden_where_they_stand_alone_only() -> None:
    assert hidden("abcd abcde xabcd (abcd)", PIN="abcd") == "[PIN] abcde xabcd ([PIN])"


def test_what_is_no_secret_makes_no_nonsense() -> None:
    line = "no environments/production.yml at line 3 of 8080 on localhost, true"
    assert hidden(line, MODE="production", PORT="8080", HOST="localhost", X="true", Y="3", Z="") == line
    assert hidden(line) == line


def test_a_long_value_of_one_line_is_hidden_as_a_whole() -> None:
    value = "x" * 100_000
    assert hidden(f"<{value}> {value[:90_000]}", KEY=value) == f"<[KEY]> {value[:90_000]}"
