"""Errors in DigitalOcean's words and form."""

from __future__ import annotations


class ApiError(Exception):
    """A request that is answered with an error body.

    :param status: HTTP status.
    :param identifier: the body's ``id``.
    :param message: the body's ``message``.
    :param headers: headers of the answer, beyond the usual ones.
    """

    def __init__(
        self, status: int, identifier: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.identifier = identifier
        self.message = message
        self.headers = headers or {}


def not_found() -> ApiError:
    """Nothing has this id or name."""
    return ApiError(404, "not_found", "The resource you requested could not be found.")


def unauthorized() -> ApiError:
    """The token is missing or wrong."""
    return ApiError(401, "unauthorized", "Unable to authenticate you.")


def invalid(message: str) -> ApiError:
    """The request is understood, and cannot be carried out as it is."""
    return ApiError(422, "unprocessable_entity", message)


def bad_request(message: str) -> ApiError:
    """The request is not one."""
    return ApiError(400, "bad_request", message)


def forbidden(message: str) -> ApiError:
    """The request is never allowed."""
    return ApiError(403, "forbidden", message)


def too_many_requests(headers: dict[str, str] | None = None) -> ApiError:
    """The rate limit is reached."""
    return ApiError(429, "too_many_requests", "API rate limit exceeded.", headers)
