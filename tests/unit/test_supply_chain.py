"""Everything that is fetched is pinned, and what is known about it is reported honestly."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import supply_chain

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = sorted(path.name for path in ROOT.glob("requirements*.in"))
INSTALLERS = (
    "Dockerfile",
    "hosting/sandbox/Dockerfile",
    "hosting/systemd/install",
    "scripts/make-venv",
    "tests/compose/stand-in-images",
)


def entries(name: str) -> list[str]:
    """Each requirement of a compiled file, with its hashes, on one line."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_package_is_pinned_to_a_version_and_its_files(name: str) -> None:
    compiled = entries(name.replace(".in", ".txt"))
    assert compiled
    for line in compiled:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+ *$", line), line[
            :120
        ]


def test_make_requirements_compiles_every_file_there_is() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nrequirements: ")[2].partition("\n\n")[0]
    assert {f"{name}.in" for name in re.findall(r"requirements[\w-]*(?=[ ;])", recipe)} == set(REQUIREMENTS)


@pytest.mark.parametrize("name", INSTALLERS)
def test_nothing_is_installed_without_a_comparison_of_hashes(name: str) -> None:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    installs = [line for line in text.splitlines() if re.search(r"pip\"? install ", line)]
    assert installs
    for line in installs:
        assert "--require-hashes" in line, line
        # The files are complete; pip itself cannot compare a package that another one demands with an extra.
        assert "bin/uv" in line or "--no-deps" in line, line


def test_the_image_is_of_the_airflow_that_is_pinned() -> None:
    pinned = re.search(r"^apache-airflow==(\S+)", (ROOT / "requirements-image.txt").read_text(), re.M)
    image = re.search(r"^FROM apache/airflow:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.M)
    assert pinned
    assert image
    assert pinned[1] == image[1]


def test_actions_are_pinned_to_a_commit_and_say_of_which_version() -> None:
    uses = [
        line
        for path in (ROOT / ".github" / "workflows").iterdir()
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert uses
    for line in uses:
        assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), line


def test_newer_versions_are_looked_for_wherever_something_is_pinned() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {each["package-ecosystem"] for each in updates} == {
        "uv",
        "github-actions",
        "docker",
        "docker-compose",
    }
    folders = {
        path.parent for path in ROOT.glob("**/Dockerfile") if "build" not in path.relative_to(ROOT).parts
    }
    docker = next(each for each in updates if each["package-ecosystem"] == "docker")
    assert {ROOT / folder.lstrip("/") for folder in docker["directories"]} == folders


def wheel(directory: Path) -> Path:
    """A package of the test's own."""
    path = directory / "shop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("shop.py", "")
        file.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        file.writestr(
            "shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("shop-1.0.dist-info/RECORD", "shop.py,,\n")
    return path


def requirements_of(directory: Path, digest: str) -> Path:
    path = directory / "requirements.txt"
    path.write_text(f"--no-index\n--find-links {directory}\nshop==1.0 --hash=sha256:{digest}\n")
    return path


def test_an_environment_has_what_was_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply_chain, "BUILD", tmp_path / "build")
    digest = hashlib.sha256(wheel(tmp_path).read_bytes()).hexdigest()
    made = supply_chain.environment("shop", str(requirements_of(tmp_path, digest)))
    assert list(made.rglob("shop.py"))


def test_a_file_other_than_the_pinned_one_fails_and_is_not_taken_for_a_missing_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply_chain, "BUILD", tmp_path / "build")
    wheel(tmp_path)
    with pytest.raises(SystemExit, match=r"(?i)hash mismatch for `shop==1.0`"):
        supply_chain.environment("shop", str(requirements_of(tmp_path, "0" * 64)))
    assert not list((tmp_path / "build").rglob("shop.py"))


def test_without_a_network_the_commands_say_so_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supply_chain, "BUILD", tmp_path / "build")
    (tmp_path / "requirements.txt").write_text("--no-index\nshop==1.0 --hash=sha256:" + "0" * 64 + "\n")

    def fetch(name: str, requirements: str) -> Path:
        return environment(name, str(tmp_path / "requirements.txt"))

    environment = supply_chain.environment
    monkeypatch.setattr(supply_chain, "environment", fetch)
    for verb in ("audit", "sbom"):
        assert supply_chain.main(verb) == 0
        assert capsys.readouterr().err.startswith(
            f"make {verb}: not done, because a service did not answer: "
        )


def test_known_vulnerabilities_fail_the_audit_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"]}
    report = {"dependencies": [{"name": "shop", "version": "1.0", "vulns": [known]}]}
    assert supply_chain.judge(report) == 1
    assert "shop 1.0: PYSEC-2026-1, CVE-2026-1; fixed in 1.1\n" in capsys.readouterr().out


def test_packages_that_were_not_looked_up_do_not_count_as_sound(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = {"name": "shop", "skip_reason": "not found"}
    with pytest.raises(supply_chain.OfflineError, match="all 1 packages were skipped: not found"):
        supply_chain.judge({"dependencies": [skipped]})
    assert supply_chain.judge({"dependencies": [skipped, {"name": "a", "version": "1", "vulns": []}]}) == 0
    assert (
        capsys.readouterr().out
    ) == "shop was not looked up: not found\n0 known vulnerabilities in 1 packages; not looked up: 1\n"


def test_licences_are_listed_by_package() -> None:
    components: list[dict[str, Any]] = [
        {
            "name": "b",
            "version": "2",
            "licenses": [{"license": {"name": "License :: OSI Approved :: BSD License"}}],
        },
        {"name": "a", "version": "1", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
        {
            "name": "c",
            "version": "3",
            "licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "MIT\nCopyright"}}],
        },
        {"name": "d", "version": "4"},
    ]
    assert supply_chain.licences(components).splitlines()[2:] == [
        "| a | 1 | MIT OR Apache-2.0 |",
        "| b | 2 | BSD License |",
        "| c | 3 | MIT |",
        "| d | 4 | not stated |",
    ]
