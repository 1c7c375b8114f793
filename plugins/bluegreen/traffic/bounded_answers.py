"""Answers of an HTTP server that is not trusted with this process's memory."""

from __future__ import annotations

import io
from typing import Any

from requests import ConnectionError, PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from bluegreen.errors import BlueGreenError

# Bytes. A chain of certificates, the longest answer of a certificate authority, has some ten thousand.
LONGEST_ANSWER = 1 << 20
PART = 1 << 16


class BoundedAnswers(HTTPAdapter):
    """Reads the whole answer to each request of a session, up to :data:`LONGEST_ANSWER` bytes when unpacked.

    Without it, the requests library reads until the server ends.
    """

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Return the answer, which is read.

        :raises BlueGreenError: if it is longer.
        :raises requests.ConnectionError: if it breaks off.
        """
        response = super().send(request, *args, **kwargs)
        content = bytearray()
        try:
            # urllib3 unpacks no more than it is asked for.
            while part := response.raw.read(PART, decode_content=True):
                content += part
                if len(content) > LONGEST_ANSWER:
                    response.close()
                    what = f"its answer to {request.path_url}"
                    raise BlueGreenError(f"{what} is longer than {LONGEST_ANSWER} bytes")
        except HTTPError as error:
            raise ConnectionError(error, request=request) from None
        response.raw = io.BytesIO(content)
        return response
