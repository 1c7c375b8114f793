"""The settings' models with their documentation: the string below each field."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

# Set by the file's name.
LEFT_OUT = ("id",)


@cache
def documentation(model: type[BaseModel]) -> dict[str, str]:
    """Return what the source of a model says below each field.

    Python drops these strings. To read them from the source costs the tasks nothing, which use the models.

    :raises ValueError: naming a field without one.
    """
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    found = {
        field.target.id: below.value.value.replace("\n" + " " * below.col_offset, "\n").rstrip()
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
    for name in model.model_fields:
        if name not in found and name not in LEFT_OUT:
            raise ValueError(f"{model.__module__}: a string below {model.__name__}.{name} has to explain it")
    return found


@dataclass(frozen=True)
class Setting:
    """A field of a model, and what is said about it: lines of text, and indented ones that are examples."""

    name: str
    field: FieldInfo
    text: str

    @property
    def section(self) -> type[BaseModel] | None:
        """The model of its keys, if it is a section."""
        return next(filter(_is_model, _without_none(self.field.annotation)), None)

    @property
    def entry(self) -> type[BaseModel] | None:
        """The model of its entries, if it is a list of sections, or a mapping to them."""
        kinds = [one for kind in _without_none(self.field.annotation) for one in get_args(kind)]
        return next(filter(_is_model, kinds), None)


def settings_of(model: type[BaseModel]) -> Iterator[Setting]:
    """Return the settings that are fields of a model, in its order."""
    said = documentation(model)
    for name, field in model.model_fields.items():
        if name not in LEFT_OUT:
            yield Setting(name, field, said[name])


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return the dotted keys of a model's settings, down to those of entries, and what is said about each."""
    for setting in settings_of(model):
        key = f"{prefix}{setting.name}"
        yield key, setting.text
        if setting.section:
            yield from keys_of(setting.section, f"{key}.")
        if setting.entry:
            mark = ".*" if str(setting.field.annotation).startswith("dict") else "[]"
            yield from keys_of(setting.entry, f"{key}{mark}.")


def _without_none(annotation: Any) -> list[Any]:
    """Return the kinds of a value that may be missing."""
    if _is_model(annotation) or getattr(annotation, "__origin__", None) in (list, dict, tuple):
        return [annotation]
    return [one for one in get_args(annotation) if one is not type(None)] or [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
