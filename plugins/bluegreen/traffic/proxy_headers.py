"""Headers that a proxy sends to an app; a client must not be able to send them in its place.

Read in the sources of Plack::Middleware::ReverseProxy and ::XSendfile, of Dancer and Dancer2
(`behind_proxy`), Catalyst (`using_frontend_proxy`) and Mojolicious (`MOJO_REVERSE_PROXY`), and in the
documentation of CDNs, of cloud providers' load balancers, and of proxies that authenticate users.

Headers that clients may send are not listed: X-HTTP-Method-Override, X-Requested-With, X-Request-ID,
traceparent, and Via, which proxies on the client's side add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

# Headers that are kept if they come from a trusted proxy. A star stands for any ending.
FORWARDED = (
    # The client's address, and the host, port, scheme and path of its request.
    "forwarded forwarded-* x-forwarded x-forwarded-* x-forward-* x-original-* x-remote-* x-real-*",
    "client-ip x-client-ip x-clientip x-client-port true-client-ip x-true-* x-source-ip x-user-ip",
    "x-cluster-client-ip cluster-client-ip x-originating-ip x-host-ip x-end-user-ip x-coming-from",
    "x-traversal-*",
    "proxy-client-ip wl-proxy-* x-proxy-* x-proxyuser-ip x-bluecoat-via x-ms-forwarded-client-ip",
    "https x-https front-end-https x-scheme x-url-scheme url-scheme x-proto x-protocol x-is-ssl",
    "x-request-scheme x-requested-proto",
    "x-host x-server-name x-server-port x-http-host-override x-rewrite-* x-request-uri x-base-path",
    "request-base x-request-base script-name x-script-name path-info x-path-info",
    "x-request-start x-queue-start",
    # The client's identity, from a login or a certificate that the proxy has checked.
    "remote-* auth-user x-auth-request-* x-authenticated-* x-webauth-* x-authentik-* oidc-*",
    "x-user x-username x-userinfo x-email shib-* eppn x-sandstorm-*",
    "x-pomerium-* x-vouch-* x-consumer-* x-credential-identifier x-anonymous-consumer tailscale-*",
    "ssl-* x-ssl x-ssl-* x-tls-* client-cert client-cert-* x-client-cert* x-client-verify x-client-dn",
    "x-client-ssl* x-client-tls* x-amzn-oidc-* x-amzn-mtls-* x-amzn-tls-* x-goog-iap-*",
    "x-goog-authenticated-* x-ms-client-principal*",
    # Headers of CDNs and hosting companies.
    "cf-* cloudfront-* x-amz-cf-* fastly-* fly-* akamai-* x-akamai-* x-azure-* x-fd-* x-arr-*",
    "x-appengine-* x-envoy-* x-sucuri-* incap-* x-vercel-* x-nf-* do-connecting-ip",
    "cdn-src-ip x-cdn-src-ip ali-cdn-* x-country-code x-geoip-*",
)

# Headers that are never kept. HAProxy sets some of them itself. Others are exchanged between a web server and
# an app on the same machine. `Proxy` becomes HTTP_PROXY, which programs read as a setting.
OWN = (
    "x-forwarded-for x-forwarded-proto x-real-ip x-preview-key x-color x-revision",
    "proxy x-sendfile-* x-accel-*",
)

# Headers with one valid spelling: HAProxy does not know another, and the app would wait for a missing body.
FRAMING = ("content-length content-type transfer-encoding",)

# PSGI makes one variable of a name in capitals and with "_" for "-". HAProxy has names in small letters.
_EITHER = "[_-]"

# HAProxy reads 2048 characters of a line.
_LONGEST = 1800


def forwarded_patterns() -> list[str]:
    """Return patterns for names that only a trusted proxy may send, in every spelling."""
    return list(_joined(map(_any_spelling, _names(FORWARDED))))


def own_patterns() -> list[str]:
    """Return patterns for names that not even a trusted proxy may send, in every spelling."""
    return list(_joined(map(_any_spelling, _names(OWN))))


def misspelled_patterns() -> list[str]:
    """Return patterns for spellings that a trusted proxy passes on, because it knows only the usual one."""
    return list(_joined(one for name in _names((*FORWARDED, *FRAMING)) for one in _other_spellings(name)))


def framing_patterns() -> list[str]:
    """Return patterns for other spellings of the headers that delimit a request."""
    return list(_joined(one for name in _names(FRAMING) for one in _other_spellings(name)))


def _names(lines: Iterable[str]) -> Iterator[str]:
    return (name for line in lines for name in line.split())


def _any_spelling(name: str) -> str:
    return name.replace("*", ".*").replace("-", _EITHER)


def _other_spellings(name: str) -> Iterator[str]:
    """Return a pattern for a name with "_" in place of at least one "-"."""
    parts = name.removesuffix("*").split("-")
    ending = ".*" if name.endswith("*") else ""
    for position in range(1, len(parts)):
        yield f"{_EITHER.join(parts[:position])}_{_EITHER.join(parts[position:])}{ending}"
    if ending:
        yield f"{_EITHER.join(parts)}.*_.*"


def _joined(spellings: Iterable[str]) -> Iterator[str]:
    """Join patterns into as few lines as possible, in POSIX syntax, because not every HAProxy has PCRE."""
    line: list[str] = []
    for spelling in spellings:
        if line and len("|".join((*line, spelling))) > _LONGEST:
            yield f"^({'|'.join(line)})$"
            line = []
        line.append(spelling)
    if line:
        yield f"^({'|'.join(line)})$"
