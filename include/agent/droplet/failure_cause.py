"""The most telling line of what a failed build has written."""

from __future__ import annotations

import re

# Debian's packages with the headers that modules written in C ask for, by the beginning of a header's path.
HEADERS = {
    "EXTERN.h": "libperl-dev",
    "GL/": "libgl-dev",
    "GeoIP.h": "libgeoip-dev",
    "Imlib2.h": "libimlib2-dev",
    "MagickCore/": "libmagickcore-dev",
    "MagickWand/": "libmagickwand-dev",
    "archive.h": "libarchive-dev",
    "bzlib.h": "libbz2-dev",
    "cairo.h": "libcairo2-dev",
    "curl/": "libcurl4-openssl-dev",
    "db.h": "libdb-dev",
    "event.h": "libevent-dev",
    "event2/": "libevent-dev",
    "expat.h": "libexpat1-dev",
    "ffi.h": "libffi-dev",
    "ft2build.h": "libfreetype-dev",
    "gcrypt.h": "libgcrypt20-dev",
    "gd.h": "libgd-dev",
    "gdbm.h": "libgdbm-dev",
    "gif_lib.h": "libgif-dev",
    "git2.h": "libgit2-dev",
    "glib.h": "libglib2.0-dev",
    "gmp.h": "libgmp-dev",
    "gnutls/": "libgnutls28-dev",
    "gssapi/": "libkrb5-dev",
    "hiredis/": "libhiredis-dev",
    "jpeglib.h": "libjpeg-dev",
    "krb5.h": "libkrb5-dev",
    "ldap.h": "libldap-dev",
    "libmemcached/": "libmemcached-dev",
    "libpq-fe.h": "libpq-dev",
    "libxml/": "libxml2-dev",
    "libxslt/": "libxslt1-dev",
    "lzma.h": "liblzma-dev",
    "magic.h": "libmagic-dev",
    "mariadb/": "libmariadb-dev",
    "maxminddb.h": "libmaxminddb-dev",
    "mysql.h": "libmariadb-dev",
    "mysql/": "libmariadb-dev",
    "ncurses.h": "libncurses-dev",
    "nettle/": "nettle-dev",
    "openssl/": "libssl-dev",
    "pcre.h": "libpcre3-dev",
    "pcre2.h": "libpcre2-dev",
    "png.h": "libpng-dev",
    "postgres_ext.h": "libpq-dev",
    "qrencode.h": "libqrencode-dev",
    "rdkafka.h": "librdkafka-dev",
    "readline/": "libreadline-dev",
    "sasl/": "libsasl2-dev",
    "security/pam_appl.h": "libpam0g-dev",
    "sodium.h": "libsodium-dev",
    "sql.h": "unixodbc-dev",
    "sqlite3.h": "libsqlite3-dev",
    "sybfront.h": "freetds-dev",
    "tiff.h": "libtiff-dev",
    "unicode/": "libicu-dev",
    "uuid/": "uuid-dev",
    "uv.h": "libuv1-dev",
    "yaml.h": "libyaml-dev",
    "zip.h": "libzip-dev",
    "zlib.h": "zlib1g-dev",
    "zmq.h": "libzmq3-dev",
    "zstd.h": "libzstd-dev",
}
# The same for libraries, by the name that the linker is given.
LIBRARIES = {
    "bz2": "libbz2-dev",
    "crypto": "libssl-dev",
    "curl": "libcurl4-openssl-dev",
    "db": "libdb-dev",
    "expat": "libexpat1-dev",
    "ffi": "libffi-dev",
    "gd": "libgd-dev",
    "gmp": "libgmp-dev",
    "ldap": "libldap-dev",
    "lzma": "liblzma-dev",
    "mariadb": "libmariadb-dev",
    "mysqlclient": "libmariadb-dev",
    "perl": "libperl-dev",
    "pq": "libpq-dev",
    "sqlite3": "libsqlite3-dev",
    "ssl": "libssl-dev",
    "uuid": "uuid-dev",
    "xml2": "libxml2-dev",
    "xslt": "libxslt1-dev",
    "yaml": "libyaml-dev",
    "z": "zlib1g-dev",
    "zstd": "libzstd-dev",
}
# Programs that a Makefile.PL asks for where it looks for a library.
PROGRAMS = {
    "gdlib-config": "libgd-dev",
    "mariadb_config": "libmariadb-dev",
    "mysql_config": "libmariadb-dev",
    "pg_config": "libpq-dev",
    "pkg-config": "pkg-config",
    "xml2-config": "libxml2-dev",
    "xslt-config": "libxslt1-dev",
}

_HEADER = re.compile(r"fatal error: (\S+): No such file or directory")
_LIBRARY = re.compile(r"cannot find -l([\w.+-]+)")
_PROGRAM = re.compile(
    rf"({'|'.join(PROGRAMS)}):? (?:command )?not found|Can't exec \"({'|'.join(PROGRAMS)})\""
)
_NO_MODULE = re.compile(r"Can't locate \S+ in @INC(?: \(you may need to install the \S+ module\))?")
# What cpanm writes of the distribution that fails, from the beginning of its build to its end.
_BEGIN = re.compile(r"^(?:Configuring|Building|Building and testing) \S+$", re.MULTILINE)
_FAILED = re.compile(r"^-> FAIL ", re.MULTILINE)
_BUILD_FAILED = re.compile(r"^-> FAIL (?:Installing (?!the dep)|Configure failed)", re.MULTILINE)
# What cpanm adds to a line: a log that is gone by then.
_LOG_NAME = re.compile(r" See \S+ for details\..*$")
_TELLING = (
    re.compile(r"^! (?:Failed to fetch|Couldn't find|Configure failed|Installing (?!the dep)).*"),
    re.compile(r"^! .*"),
    re.compile(r"^(?:tar|gzip|cp|rm): .*"),
    re.compile(r"^(?:npm (?:ERR!|error) (?!code )\S.*|fatal: .*|error: .*|ERROR.*|E: .*)"),
    re.compile(r".* error: .*"),
    re.compile(r"^.*: command not found$|^make(?:\[\d+\])?: \*\*\* .*"),
    re.compile(r".* at \S+ line \d+.*"),
)
# Characters of the line that is returned.
LONGEST = 500


def failure_cause(output: str) -> str:
    """Return the line of a failed build's output that explains it best, and a package that helps."""
    failed = _of_the_failed_distribution(output)
    cause = _missing_piece(output if failed is None else failed) or _line(output)
    return re.sub(r"[\x00-\x1f\x7f]", " ", _LOG_NAME.sub("", cause)).strip()[:LONGEST]


def _of_the_failed_distribution(output: str) -> str | None:
    """Return what cpanm's log has of the first distribution that failed; what others tried does not count.

    None if it is no such log; empty if it is none of a distribution that failed while it was built.
    """
    if not _FAILED.search(output):
        return None
    failed = _BUILD_FAILED.search(output)
    if not failed:
        return ""
    begun = [found.start() for found in _BEGIN.finditer(output[: failed.start()])]
    return output[begun[-1] if begun else 0 : failed.start()]


def _missing_piece(output: str) -> str:
    """Return what names a missing header, library, module or program, in this order; empty if none is."""
    if found := _HEADER.search(output):
        package = next((name for begin, name in HEADERS.items() if found[1].startswith(begin)), "")
        return f"{found[0]}{_advice(package)}"
    if found := _LIBRARY.search(output):
        return f"{found[0]}{_advice(LIBRARIES.get(found[1], ''))}"
    if found := _NO_MODULE.search(output):
        return found[0]
    if found := _PROGRAM.search(output):
        return f"{found[0]}{_advice(PROGRAMS[found[1] or found[2]])}"
    return ""


def _advice(package: str) -> str:
    return f" (add the Debian package {package} to fleet.packages)" if package else ""


def _line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in _TELLING:
        for line in lines:
            if pattern.match(line):
                return line
    return lines[-1] if lines else "no reason given"
