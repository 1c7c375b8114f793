"""What the script that deploys a release does on a droplet that is full, or whose app talks without end."""

from __future__ import annotations

from pathlib import Path

from bluegreen.release.release import RESERVE_INODES, RESERVE_MB
from tests.unit.a_release import RELEASE
from tests.unit.deploy_functions import run_functions

# A disk of which a test says what is free, as long as nothing is kept; the app's files are elsewhere.
DF = """
case $* in
*itotal*) echo "Inodes IFree"; echo "{total} $([ -e {reserve} ] && echo {inodes} || echo 50000)" ;;
*) echo Avail; [ -e {reserve} ] && echo {kilobytes} || echo 900000 ;;
esac"""
CLAIM = """
hold_own_claim() { echo held; }
give_claim_up() { echo given up; }
"""


def on_disk(
    directory: Path, commands: str, total: str = "100000", inodes: int = 50_000, megabytes: int = 900
) -> list[str]:
    """Run commands on such a disk, and return what they say."""
    reserve, kilobytes = directory / "root" / "reserve", megabytes * 1024
    df = DF.format(total=total, inodes=inodes, kilobytes=kilobytes, reserve=reserve)
    done = run_functions(RELEASE, directory, f"{CLAIM}{commands}", df=df, systemctl='echo "$@"')
    return (done.stdout + done.stderr).splitlines()


def kept(directory: Path) -> tuple[int, int]:
    """How many bytes and files are kept."""
    files = list((directory / "root" / "reserve").iterdir())
    return sum(one.stat().st_size for one in files), len(files)


def test_room_is_kept_in_bytes_and_in_files_and_used_when_either_is_short(tmp_path: Path) -> None:
    for inodes, megabytes in ((10, 900), (50_000, 3)):
        assert on_disk(tmp_path, "keep_room") == []
        assert kept(tmp_path) == (RESERVE_MB << 20, RESERVE_INODES + 1)
        assert on_disk(tmp_path, "make_room") == []
        said = on_disk(tmp_path, "make_room", inodes=inodes, megabytes=megabytes)
        assert said[0] == "held"
        assert said[-2:] == ["stop app-my_perl_app.service", "given up"]
        assert list((tmp_path / "root").iterdir()) == []


def test_files_that_are_not_counted_are_no_reason(tmp_path: Path) -> None:
    for total in ("0", "-"):
        on_disk(tmp_path, "keep_room", total=total, inodes=0)
        assert on_disk(tmp_path, "make_room; disk_is_full || echo not full", total=total, inodes=0) == [
            "not full"
        ]


def test_a_disk_without_room_for_files_is_full(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "reserve").mkdir()
    assert on_disk(tmp_path, "disk_is_full && echo full", inodes=0) == ["full"]
    assert on_disk(tmp_path, "unexpected 7 mktemp", inodes=0) == [
        f"bluegreen: No space left on the disk of {tmp_path}/root"
    ]
    tools = "command() { :; }; getent() { :; }; fetch_user=root build_user=root run_user=root\n"
    [said] = on_disk(tmp_path, f"{tools}preflight", inodes=7)
    assert said.startswith(f"bluegreen: No space left on the disk of {tmp_path}/root: ")
    assert said.endswith("it has room for 7 more files, 2500 are needed")


def test_room_that_was_half_made_or_half_used_is_made_anew(tmp_path: Path) -> None:
    for name in ("reserve.old", "reserve.new"):
        (tmp_path / "root" / name / "x").mkdir(parents=True)
    assert on_disk(tmp_path, "make_room; keep_room") == []
    assert [one.name for one in (tmp_path / "root").iterdir()] == ["reserve"]
