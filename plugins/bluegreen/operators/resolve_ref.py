"""From what the user typed to one revision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.git import resolve_ref
from bluegreen.links import CommitLink
from bluegreen.operators.base import BlueGreenOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveRefOperator(BlueGreenOperator):
    """Resolve a ref to the revision that the whole run then uses.

    :param ref: branch, tag or commit; templated.
    """

    template_fields: Sequence[str] = ("ref",)
    operator_extra_links = (CommitLink(),)

    def __init__(self, *, ref: str = "{{ params.ref }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ref = ref

    def act(self, context: Context) -> str:
        """Return the revision, 40 hex digits.

        :raises RefError: if the ref is malformed or not there.
        """
        revision = resolve_ref(self.app.repository, self.ref)
        self.log.info("%s is revision %s of %s", self.ref, revision, self.app.repository)
        return revision
