"""An app with many dependencies, as a git repository with three releases."""

from __future__ import annotations

import shutil
from pathlib import Path

from sandbox.cpan import mirror, stock
from sandbox.example_repository import DAY, FIRST_COMMIT, run_git
from tests.sandbox.benchmark.closure import closure, snapshot

APP = Path(__file__).parent / "app"
RELEASES = ("v1", "v2", "v3")
# What many apps have: objects, a database, templates, dates, a client. The last ones are what distributions
# ask for only where there is a compiler, so their META does not name them.
MODULES = (
    *("Class::Accessor::Grouped", "Class::XSAccessor", "DBI", "DateTime", "File::Slurp", "HTML::TreeBuilder"),
    *("Hash::Merge", "LWP::UserAgent", "Moose", "MooseX::Role::Parameterized", "Params::Validate"),
    *("SQL::Abstract", "Template", "Type::Tiny", "YAML::XS"),
    *("Package::Stash::XS", "Sub::Name", "Variable::Magic", "XString"),
)


def build_repository(path: Path, work: Path) -> dict[str, str]:
    """Create a bare repository of the app.

    :param work: an empty directory for files on the way.
    :return: the revision of each release, which is a tag.
    """
    mirror.build(work / "mirror", stock.ensure())
    tree = work / "tree"
    shutil.copytree(APP, tree)
    (tree / "cpanfile").write_text("".join(f"requires '{module}';\n" for module in MODULES))
    (tree / "cpanfile.snapshot").write_text(snapshot(closure(work / "mirror", MODULES)))
    run_git(tree, "init", "--quiet", "--initial-branch=main")
    revisions = {}
    for days, release in enumerate(RELEASES):
        (tree / "RELEASE").write_text(f"{release}\n")
        run_git(tree, "add", "--all")
        seconds = FIRST_COMMIT + days * DAY
        run_git(tree, "commit", "--quiet", "--message", f"Release {release}", seconds=seconds)
        run_git(tree, "tag", release)
        revisions[release] = run_git(tree, "rev-parse", "HEAD")
    run_git(work, "clone", "--quiet", "--bare", str(tree), str(path))
    return revisions
