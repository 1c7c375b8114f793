"""What the project is made of: vulnerabilities of its packages, and a list of the production image's.

Both need the network. A machine without it gets one line on that and no failure: the files that are checked
are pinned, so CI's answer counts for everybody.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
AUDITED = ("requirements.txt", "requirements-image.txt", "requirements-sandbox.txt", "requirements-docs.txt")
# Where a licence is, by CycloneDX 1.6: an SPDX identifier, another name, or an expression of several.
LICENCE_FIELDS = ("id", "name")


class OfflineError(Exception):
    """A service on the network did not answer."""


def audit() -> int:
    """Look up known vulnerabilities of all pinned packages. Return 1 if there are any, otherwise 0.

    :raises OfflineError: The database of vulnerabilities did not answer. Then pip-audit writes no report, or
        one that skips every package; a mirror of the index without that database looks like the latter.
    """
    report = BUILD / "audit.json"
    report.unlink(missing_ok=True)
    files = [f"--requirement={ROOT / name}" for name in AUDITED]
    program = environment("audit-tools", "requirements-audit.txt") / "bin" / "pip-audit"
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
    done = _run([str(program), *options, f"--output={report}", *files])
    if not report.exists():
        raise OfflineError(_last_line(done.stderr))
    return judge(json.loads(report.read_text()))


def judge(report: dict[str, Any]) -> int:
    """Print what a report of pip-audit has found. Return 1 if that is a vulnerability, otherwise 0.

    :raises OfflineError: No package was looked up.
    """
    skipped = [each for each in report["dependencies"] if "skip_reason" in each]
    audited, found = len(report["dependencies"]) - len(skipped), list(vulnerabilities(report))
    if not audited:
        raise OfflineError(
            f"all {len(skipped)} packages were skipped: {skipped[0]['skip_reason']}"
            if skipped
            else "no package"
        )
    for line in found:
        print(line)
    for each in skipped:
        print(f"{each['name']} was not looked up: {each['skip_reason']}")
    print(f"{len(found)} known vulnerabilities in {audited} packages; not looked up: {len(skipped)}")
    return 1 if found else 0


def vulnerabilities(report: dict[str, Any]) -> Iterator[str]:
    """A line for each known vulnerability in a report of pip-audit."""
    for package in report["dependencies"]:
        for known in package.get("vulns", ()):
            fixed = " or ".join(known["fix_versions"]) or "no version yet"
            names = ", ".join([known["id"], *known.get("aliases", ())])
            yield f"{package['name']} {package['version']}: {names}; fixed in {fixed}"


def sbom() -> int:
    """Write build/sbom.json and build/licences.md for the packages of requirements-image.txt. Return 0.

    :raises OfflineError: The packages, which have the licences in them, could not be fetched.
    """
    installed = environment("image", "requirements-image.txt")
    program = environment("audit-tools", "requirements-audit.txt") / "bin" / "cyclonedx-py"
    target = BUILD / "sbom.json"
    options = ["--output-reproducible", "--output-format=JSON", f"--output-file={target}"]
    done = _run([str(program), "environment", *options, str(installed / "bin" / "python")])
    if done.returncode:
        raise SystemExit(f"supply_chain: cyclonedx-py failed: {_last_line(done.stderr)}")
    components = json.loads(target.read_text())["components"]
    (BUILD / "licences.md").write_text(licences(components))
    print(f"build/sbom.json and build/licences.md: {len(components)} packages")
    return 0


def licences(components: list[dict[str, Any]]) -> str:
    """Return a Markdown table of packages and licences, from the components of a CycloneDX document."""
    rows = sorted((each["name"], each["version"], _licence(each)) for each in components)
    lines = [f"| {name} | {version} | {licence} |" for name, version, licence in rows]
    return "\n".join(["| package | version | licence |", "| --- | --- | --- |", *lines, ""])


def environment(name: str, requirements: str) -> Path:
    """Return a virtual environment that has exactly these packages, each compared with its hash.

    :raises OfflineError: A package could not be fetched; the line says which.
    """
    directory = BUILD / "supply-chain" / name
    uv, python = ROOT / ".venv" / "bin" / "uv", directory / "bin" / "python"
    for command in (
        ["venv", "--quiet", "--allow-existing", f"--python={sys.executable}", str(directory)],
        ["pip", "sync", "--quiet", f"--python={python}", "--require-hashes", str(ROOT / requirements)],
    ):
        done = _run([str(uv), *command])
        if "hash mismatch" in done.stderr.lower():
            # No network trouble: somebody serves other files than those that were pinned.
            raise SystemExit(f"supply_chain: {requirements}: {' '.join(done.stderr.split())}")
        if done.returncode:
            raise OfflineError(_last_line(done.stderr))
    return directory


def _licence(component: dict[str, Any]) -> str:
    found = []
    for each in component.get("licenses", ()):
        inner = each.get("license", {})
        found.append(
            each.get("expression") or next((inner[field] for field in LICENCE_FIELDS if field in inner), "")
        )
    # A package's whole licence text may stand where its name belongs.
    short = {one.strip().partition("\n")[0].rpartition(" :: ")[2][:80] for one in found}
    return " / ".join(sorted(short - {""})) or "not stated"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    BUILD.mkdir(exist_ok=True)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1].strip()


def main(verb: str) -> int:
    """Run one of the two verbs; without a network report that and go on."""
    try:
        return {"audit": audit, "sbom": sbom}[verb]()
    except OfflineError as cause:
        print(f"make {verb}: not done, because a service did not answer: {cause}", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
