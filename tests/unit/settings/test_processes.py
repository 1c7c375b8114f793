"""Processes and timers: what is refused when the file is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from bluegreen.settings.app import App
from bluegreen.settings.calendar import NAMES, check_calendar
from tests.unit.app_settings import settings_of


def with_timer(tmp_path: Path, calendar: str) -> App:
    return settings_of(tmp_path, more=f"timers: {{cleanup: {{command: [a], calendar: {calendar}}}}}\n")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("processes: {worker: {}}", "processes.worker.command: is required and missing"),
        ("processes: {worker: null}", "processes.worker.command: is required and missing"),
        ("processes: {worker: {command: bin/worker}}", "a command is a list of words: [bin/worker]"),
        ("processes: {worker: {command: [A=1, x]}}", "the first word is the program"),
        ("processes: {worker: {command: [-x]}}", "the first word is the program"),
        ("processes: {worker: {command: [" + "a" * 999 + ", b, " + "c" * 999 + ", dd]}}", "allowed are 2000"),
        ("processes: {worker: {command: [a], count: 0}}", "processes.worker.count: found 0"),
        ("processes: {worker: {command: [a], count: 33}}", "processes.worker.count: found 33"),
        ("processes: {worker: {command: [a], droplets: 1}}", "processes.worker.droplets: found 1"),
        ("processes: {worker: {command: [a], stop_signal: SIGKILL}}", "stop_signal: found 'SIGKILL'"),
        ("processes: {worker: {command: [a], stop_timeout: 0}}", "stop_timeout: found 0"),
        ("processes: {worker: {command: [a], memory_max: 1M}}", "no less than 64M"),
        (
            "processes: {worker: {command: [a], stop_timout: 5}}",
            "processes.worker.stop_timout: unknown key; allowed here are command, count, droplets, mem",
        ),
        ("processes: {'': {command: [a]}}", "processes"),
        ("processes: {Worker: {command: [a]}}", "processes"),
        ("processes: {a/b: {command: [a]}}", "processes"),
        ("processes: {'worker@1': {command: [a]}}", "processes"),
        ("processes: {'worker\\n': {command: [a]}}", "processes"),
        ("processes: {" + "a" * 32 + ": {command: [a]}}", "processes"),
        ("processes: [worker]", "processes: found ['worker']"),
        (
            "processes: {a: {command: [a]}}\ntimers: {a: {command: [a], calendar: daily}}",
            "timers: found 'a', which is the name of a process, too; rename one of them",
        ),
        (
            "processes: {" + ", ".join(f"a{n}: {{command: [a]}}" for n in range(17)) + "}",
            "processes: there are 17 with the timers; allowed are 16",
        ),
        (
            "processes: {a: {command: [a], count: 32}, b: {command: [a], count: 32}, c: {command: [a]}}",
            "processes: count adds up to 65 with the timers; allowed are 64",
        ),
        ("timers: {cleanup: {command: [a]}}", "timers.cleanup.calendar: is required and missing"),
        ("timers: {cleanup: {command: [a], calendar: daily, timeout: 86401}}", "timeout: found 86401"),
        ("timers: {cleanup: {command: [a], calendar: daily, count: 2}}", "count: unknown key; allowed here"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path: Path, written: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        settings_of(tmp_path, more=written + "\n")
    assert "shop.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_app_has_processes_as_long_as_one_of_the_sections_is_in_its_file(tmp_path: Path) -> None:
    assert not settings_of(tmp_path).has_processes
    assert settings_of(tmp_path, more="processes: {worker: {command: [bin/worker]}}\n").has_processes
    assert with_timer(tmp_path, "daily").has_processes
    # The last one was removed, and has to be stopped still.
    assert settings_of(tmp_path, more="processes:\n").has_processes
    assert settings_of(tmp_path, more="timers: {}\n").has_processes


@pytest.mark.parametrize(
    "calendar",
    [
        *NAMES,
        "03:00",
        "*-*-* 03:00:00",
        "*:0/15",
        "0/2:00",
        "*:*:0/30",
        "1,2..5/2:30",
        "Mon 03:00",
        "Mon..Fri,Sun *-*-* 08:30 Europe/Berlin",
        "*-1,4,7,10-1 00:00 UTC",
        "*-02-29 00:00",
        "*-02,12-31 00:00",
    ],
)
def test_a_calendar_is_systemd_s(calendar: str) -> None:
    assert check_calendar(calendar) == calendar


@pytest.mark.parametrize(
    ("calendar", "expected"),
    [
        ("''", "calendar"),
        ("never", "allowed is systemd's notation"),
        ("0 3 * * *", "allowed is systemd's notation"),
        ("'*/2:00'", "allowed is systemd's notation"),
        ('"03:00\\n[Service]"', "control characters"),
        ("'03:00; reboot'", "allowed is systemd's notation"),
        ("'24:00'", "the hour 24 is not from 0 to 23"),
        ("'0..24:00'", "the hour 24 is not from 0 to 23"),
        ("'03:60'", "the minute 60 is not from 0 to 59"),
        ("'*-13-01 00:00'", "the month 13 is not from 1 to 12"),
        ("'*-01-00 00:00'", "the day 0 is not from 1 to 31"),
        ("'*-02-30 00:00'", "there is no such day in any year"),
        ("'*-4,6-31 00:00'", "there is no such day in any year"),
        ("'5..1:00'", "5..1 ends before it begins"),
        ("'*:0/0'", "the minute is repeated after 0"),
        ("'03:00 Europe/Nowhere'", "there is no time zone Europe/Nowhere"),
        ("12:30", "found 750: YAML reads a time without quotes as a number: write it in quotes"),
    ],
)
def test_a_calendar_that_a_droplet_would_not_take_is_refused(
    tmp_path: Path, calendar: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)):
        with_timer(tmp_path, calendar)
