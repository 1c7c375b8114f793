"""The page of the agent's verbs and codes: the protocol, and what the verbs' own docstrings say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from agent.protocol import Code, Kind, Verb
from scripts.reference.markdown import escaped

PROTOCOL = "include/agent/protocol.py"

HEAD = """\
# The agent

The agent is the program that does what Airflow asks on a machine. It is plain Python, standard library
only, 3.9 or newer, sent by Airflow as one zip: `/usr/local/lib/bluegreen/agent-<digest>.pyz`. There is
no daemon. `python3 <agent> VERB`, with a JSON object as its request (an argument, or `-` for standard
input), prints one JSON object. `"ok": true` comes with exit status 0. `"ok": false` comes with exit
status 1, `error` (a code, below) and `message` (one line).

Verbs that change something hold one `flock`. Every call has one deadline: whatever an app, a peer,
HAProxy or systemd does meanwhile, each wait takes what is left of it. Every state is replaced by
rename, so a killed call leaves the state before or after a step, never half of one. Verbs that only
read are run from memory, and write nothing on the machine.

The steps of a job are done in its systemd unit; `start_job` is how they are asked for: STEPS.
"""


def page(root: Path) -> str:
    """Return the page as Markdown."""
    described = {verb: _docstring(root, verb) for verb in Verb}
    steps = ", ".join(f"`{verb}`" for verb in Verb if verb.kind is Kind.STEP)
    parts = [
        HEAD.replace("STEPS", steps),
        "## Verbs\n\n| verb | changes something | seconds | meaning |\n| --- | --- | --- | --- |",
    ]
    for verb, text in described.items():
        changes = "no" if verb.kind is Kind.READS else "yes"
        meaning = escaped(" ".join(text.partition("\n\n")[0].split()))
        parts.append(f"| [`{verb}`](#{verb}) | {changes} | {verb.deadline:g} | {meaning} |")
    parts.append("\n## Codes\n\n| code | meaning |\n| --- | --- |")
    parts += [f"| `{code}` | {escaped(meaning)} |" for code, meaning in codes(root).items()]
    parts.append("\n## Requests and answers")
    parts += [f"\n### `{verb}`\n\n{_in_paragraphs(text)}" for verb, text in described.items()]
    return "\n".join(parts) + "\n"


def codes(root: Path) -> dict[Code, str]:
    """Return the comment above each code in the protocol.

    :raises KeyError: if a code has none.
    """
    found = dict(_commented((root / PROTOCOL).read_text(encoding="utf-8")))
    return {code: found[code.name] for code in Code}


def _commented(text: str) -> Iterator[tuple[str, str]]:
    for comment, name in re.findall(r"((?:^    # .*\n)+)    ([A-Z_]+) = ", text, re.MULTILINE):
        yield name, " ".join(line.strip().removeprefix("# ") for line in comment.splitlines())


def _docstring(root: Path, verb: Verb) -> str:
    """Return the docstring of a verb's function.

    :raises ValueError: if there is none.
    """
    path = root / "include" / f"{verb.module.replace('.', '/')}.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.FunctionDef)
            and node.name == verb.value
            and (text := ast.get_docstring(node))
        ):
            return text.replace("``", "`")
    raise ValueError(f"{path} has no docstring for the verb {verb}")


def _in_paragraphs(text: str) -> str:
    """Begin a paragraph with each part that a docstring of a verb has."""
    text = " ".join(
        text.replace(":param request:", "Request:").replace(":raises AgentError:", "Codes:").split()
    )
    text = re.sub(r" (Request|Answer|Codes): ", r"\n\n**\1:** ", text)
    first, *parts = re.sub(r" (Killed )", r"\n\n\1", text).split("\n\n")
    return "\n\n".join([escaped(first), *(_part(part) for part in parts)])


def _part(text: str) -> str:
    head, mark, rest = text.partition(":** ")
    return f"{head}{mark}{escaped(rest)}" if mark else escaped(text)
