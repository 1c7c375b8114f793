"""The file that an app is set in: one YAML file in ``include/apps/``, named like the app."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from bluegreen.app import App
from bluegreen.errors import SettingsError

APPS_DIRECTORY = Path(__file__).resolve().parents[2] / "include" / "apps"


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys silently; a setting that is lost that way is a trap."""

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
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def apps_directories() -> list[Path]:
    """Directories of app files: ``include/apps``, or those that ``BLUEGREEN_APPS_DIR`` lists, with colons."""
    listed = os.environ.get("BLUEGREEN_APPS_DIR") or str(APPS_DIRECTORY)
    return [Path(directory) for directory in listed.split(os.pathsep)]


def app_ids(directory: Path | None = None) -> list[str]:
    """Ids of all apps that have a file, sorted; the files themselves may be unusable."""
    directories = [directory] if directory else apps_directories()
    return sorted({path.stem for directory in directories for path in directory.glob("*.yaml")})


def load_app(app_id: str, directory: Path | None = None) -> App:
    """Read and check the settings of one app.

    :param app_id: the file's name without ``.yaml``.
    :param directory: where to look; default :func:`apps_directories`.
    :raises SettingsError: naming the file, the key, what was found and what is allowed.
    """
    path = _file_of(app_id, [directory] if directory else apps_directories())
    try:
        # yaml.load with a SafeLoader subclass builds plain data only.
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        # PyYAML lets the standard library complain about a date like 2026-02-30.
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected settings as `key: value`, found {type(data).__name__}")
    if "id" in data:
        raise SettingsError(f"{path}: id: the file's name is the app's id; remove this key")
    try:
        return App.model_validate({"id": app_id, **data})
    except ValidationError as error:
        raise SettingsError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from None


def _file_of(app_id: str, directories: list[Path]) -> Path:
    files = [directory / f"{app_id}.yaml" for directory in directories]
    found = [file for file in files if file.exists()]
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
    return f"{key}: found {repr(item.get('input'))[:80]}: {message}" if item["loc"] else message


def _allowed_keys(location: tuple[Any, ...]) -> list[str]:
    model: Any = App
    for part in location:
        # The number of a list's entry, or the name of a field.
        model = get_args(model)[0] if isinstance(part, int) else model.model_fields[part].annotation
    return sorted(name for name in model.model_fields if model is not App or name != "id")
