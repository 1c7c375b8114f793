"""The base of every section of an app file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

# The type of an error whose value may be a secret.
HIDDEN = "hidden"


def hidden(message: str) -> PydanticCustomError:
    """Return an error that, unlike an ordinary one, does not show what was found."""
    return PydanticCustomError(HIDDEN, "{message}", {"message": message})


def _single_line(text: str) -> str:
    if any(ord(character) < 32 for character in text):
        raise ValueError("control characters and line breaks are not allowed")
    return text


Line = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_single_line)]


class Section(BaseModel):
    """A section: unknown keys are refused, and its values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, data: Any) -> Any:
        """Accept a section whose keys are all commented out, which YAML reads as null."""
        return {} if data is None else data
