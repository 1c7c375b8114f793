"""Asking others: each server for its health, and CPAN's mirrors for distributions. Every answer has an end.

Standard library only, Python 3.8 or later.
"""

# Python loads it when a name is looked up first, which whoever has no rights may not be able to.
import encodings.idna  # noqa: F401
import http.client
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from nobody import as_nobody

MOST_HEAD = 1 << 16
PROBE_SECONDS, MIRROR_SECONDS, SPARE_SECONDS = 5, 8, 2
REQUESTS_AT_ONCE = 8
LONGEST_REVISION = 100


def head_of(address, port, method, path, headers, seconds):
    """Return an answer's status and the text of its head; its body is not read.

    :raises OSError: if there is no whole head in time, or it is larger than any.
    """
    ends, head = time.monotonic() + seconds, b""
    lines = [f"{method} {path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with socket.create_connection((address, port), timeout=seconds) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1", "replace"))
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no whole answer within {seconds:.0f} s")
            if len(head) > MOST_HEAD:
                raise OSError(f"the head of its answer is larger than {MOST_HEAD >> 10} KB")
            connection.settimeout(left)
            try:
                part = connection.recv(4096)
            except TimeoutError:
                raise TimeoutError(f"no whole answer within {seconds:.0f} s") from None
            if not part:
                break
            head += part
    text = head.decode("latin-1")
    status = re.match(r"HTTP/\d\.\d (\d{3})\b", text)
    if status is None:
        raise OSError("what it answers is not HTTP")
    return int(status[1]), text


def field_of(head, name):
    """Return a header's value in the text of a head, or None."""
    found = re.search(rf"(?im)^{re.escape(name)}:[ \t]*(.*?)[ \t\r]*$", head.partition("\r\n\r\n")[0])
    return found[1] if found else None


def probes(deadline, request):
    """Ask each server itself, not by way of HAProxy, whose counters stay as they are."""
    servers = request["servers"]
    answers = _at_once(lambda one: _ask(deadline, one, request["path"], request["headers"]), servers)
    return {server["name"]: answer for server, answer in zip(servers, answers)}  # noqa: B905


def pages(deadline, request):
    """What one server answers to each path; nothing without a server."""
    server, paths = request["page_server"], request["pages"]
    if not server:
        return {}
    answers = _at_once(lambda path: _ask(deadline, server, path, request["headers"]), paths)
    return {path: answer["status"] for path, answer in zip(paths, answers)}  # noqa: B905


def _at_once(do, things):
    with ThreadPoolExecutor(max(1, min(len(things), 64))) as pool:
        return list(pool.map(do, things))


def _ask(deadline, server, path, headers):
    headers = {"Host": server["address"], **headers}
    try:
        seconds = deadline.left(PROBE_SECONDS)
        status, head = head_of(server["address"], server["port"], "GET", path, headers, seconds)
    except OSError as error:
        return {"status": None, "revision": None, "error": str(error) or type(error).__name__}
    revision = field_of(head, "X-Revision")
    return {"status": status, "revision": (revision or "")[:LONGEST_REVISION] or None, "error": None}


def mirror(deadline, request):
    """Which distributions no mirror has, as far as there is time to ask for them; nothing is fetched."""
    seconds = deadline.left(MIRROR_SECONDS)
    ends = time.monotonic() + seconds
    # Those that are asked when the time is over may still answer.
    said, why = as_nobody(seconds + SPARE_SECONDS, lambda: _asked(request, ends))
    return said if why is None else {"error": why, "missing": [], "unasked": 0}


def _asked(request, ends):
    # The user who builds has no proxy either.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path):
        return is_on_a_mirror(opener, request["mirrors"], path) if time.monotonic() < ends else None

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        said = dict(zip(request["distributions"], pool.map(ask, request["distributions"])))  # noqa: B905
    return {
        "error": next((one for one in said.values() if isinstance(one, str)), None),
        "missing": [path for path, one in said.items() if one is False],
        "unasked": sum(one is None for one in said.values()),
    }


def is_on_a_mirror(opener, mirrors, path):
    """Whether one has it; why the first did not answer that did not, if none that answers has it."""
    trouble = ""
    for url in mirrors:
        address = f"{url}authors/id/{urllib.parse.quote(path)}"
        try:
            question = urllib.request.Request(address, method="HEAD")  # noqa: S310
            with opener.open(question, timeout=MIRROR_SECONDS / 2):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 429 or error.code >= 500:
                trouble = trouble or f"status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            trouble = trouble or str(getattr(error, "reason", error)) or type(error).__name__
    return trouble or False
