"""Reading an app file: one YAML file in ``include/apps/``, named after the app."""

from __future__ import annotations

import re
import stat
from collections.abc import Hashable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from bluegreen.errors import SettingsError
from bluegreen.settings.app import App
from bluegreen.settings.app_files import apps_directories
from bluegreen.settings.section import HIDDEN

# Far more than any app needs. A larger file is not settings, or would exhaust the memory when it is read.
LARGEST_FILE = 1 << 20
MOST_NODES = 10_000
DEEPEST = 30

_TEXT = "tag:yaml.org,2002:str"
_NOT_TEXT = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp"))


class _UniqueKeyLoader(yaml.SafeLoader):
    """A loader that refuses duplicate keys; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} cannot be a key", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is defined twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_app(app_id: str, directory: Path | None = None) -> App:
    """Read and check the settings of one app.

    :param app_id: the file's name without ``.yaml``.
    :param directory: where to look; default :func:`apps_directories`.
    :raises SettingsError: naming the file, the key, what was found and what is allowed.
    """
    path = _file_of(app_id, [directory] if directory else apps_directories())
    try:
        data = _parse(_read(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # For a date like 2026-02-30 PyYAML passes on the ValueError of the standard library.
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected settings as `key: value`, found {type(data).__name__}")
    if "id" in data:
        raise SettingsError(f"{path}: id: the file's name is the app's id; remove this key")
    try:
        return App.model_validate({"id": app_id, **data})
    except ValidationError as error:
        raise SettingsError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from None


def _read(path: Path) -> str:
    """Return a regular file's text. Another kind, such as a FIFO, could block the DAGs of all apps."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path}: is not a regular file")
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    if len(text) > LARGEST_FILE:
        raise SettingsError(f"{path}: is larger than {LARGEST_FILE >> 20} MB, so it holds no settings")
    return text


def _parse(text: str) -> Any:
    loader = _UniqueKeyLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, 0)
        return loader.construct_document(_environment_as_written(node))
    finally:
        loader.dispose()


def _count(node: yaml.Node, counted: dict[int, int], depth: int) -> int:
    """Count the nodes, with all aliases followed.

    :raises ValueError: if there are too many, if they refer to themselves, or if one is not text.
    """
    if isinstance(node, yaml.ScalarNode) and re.search("[\ud800-\udfff]", node.value):
        raise ValueError(f"{node.value!r} has half of a surrogate pair, which no database can store")
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels, or refers to itself")
    if id(node) not in counted:
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []
        parts += node.value if isinstance(node, yaml.SequenceNode) else []
        counted[id(node)] = 1 + sum(_count(part, counted, depth + 1) for part in parts)
    if counted[id(node)] > MOST_NODES:
        raise ValueError(f"its aliases (*name) expand to more than {MOST_NODES} values")
    return counted[id(node)]


def _environment_as_written(root: yaml.Node) -> yaml.Node:
    """Return the document with the variables of ``environment`` as the texts that stand in the file.

    YAML reads ``0644`` as 420, ``1.10`` as 1.1, ``no`` as false and ``12:30`` as 750. A variable is a text.
    """
    if not isinstance(root, yaml.MappingNode):
        return root
    pairs = [(key, _as_written(value) if key.value == "environment" else value) for key, value in root.value]
    return yaml.MappingNode(root.tag, pairs, root.start_mark, root.end_mark)


def _as_written(node: yaml.Node) -> yaml.Node:
    """Return a copy of a mapping, or of a text: an alias may stand for the same node elsewhere."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(_as_written(key), _as_written(value)) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
    if node.tag in _NOT_TEXT:
        return yaml.ScalarNode(_TEXT, node.value, node.start_mark, node.end_mark)
    return node


def _file_of(app_id: str, directories: list[Path]) -> Path:
    files = [directory / f"{app_id}.yaml" for directory in directories]
    found = [file for file in files if file.exists() or file.is_symlink()]
    if len(found) > 1:
        raise SettingsError(f"{' and '.join(map(str, found))} have settings of one app: remove all but one")
    return (found or files)[0]


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(file)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here are {', '.join(_allowed_keys(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{key}: is required and missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == HIDDEN:
        return f"{key}: {message}"
    return f"{key}: found {repr(item.get('input'))[:80]}: {message}" if item["loc"] else message


def _allowed_keys(location: tuple[Any, ...]) -> list[str]:
    model: Any = App
    for part in location:
        # A part of the location is the index of a list's entry, a mapping's key, or the name of a field.
        if isinstance(part, int):
            [model] = get_args(model)
        elif get_origin(model) is dict:
            _, model = get_args(model)
        else:
            model = model.model_fields[part].annotation
        if isinstance(model, UnionType):
            # A section that may be left out.
            [model] = [one for one in get_args(model) if one is not NoneType]
    return sorted(name for name in model.model_fields if model is not App or name != "id")
