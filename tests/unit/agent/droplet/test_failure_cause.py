"""The cause of a failed build is the line that helps, in what Debian 12's programs wrote."""

from __future__ import annotations

import re

import pytest

from agent.droplet.failure_cause import (
    DISTRIBUTIONS,
    HEADERS,
    LIBRARIES,
    LONGEST,
    PROGRAMS,
    failure_cause,
)
from bluegreen.patterns import DEBIAN_PACKAGE

# cpanm 1.7046: its own output, then the end of its log. Another distribution has looked for a header before.
NEEDS_HEADER = """\
--> Working on Local::NeedsPq
! Installing Local::NeedsPq failed. See /opt/app/work/1.1/build.log for details. \
Retry with --force to force install it.
! Installing the dependencies failed: Module 'Local::NeedsPq' is not installed
! Bailing out the installation for ..

-> FAIL Download file:///kept/authors/id/L/LO/LOCAL/Local-NeedsPq-1.0.tar.gz failed. Retrying ...
Configuring Local-Good-1.0
Running Makefile.PL
probe.c:1:10: fatal error: zlib.h: No such file or directory
Writing Makefile for Local::Good
-> OK
Building Local-Good-1.0
Successfully installed Local-Good-1.0
Configuring Local-NeedsPq-1.0
Running Makefile.PL
Writing Makefile for Local::NeedsPq
-> OK
Checking if you have ExtUtils::MakeMaker 0 ... Yes (7.64)
Building Local-NeedsPq-1.0
x86_64-linux-gnu-gcc -c   -D_REENTRANT -D_GNU_SOURCE -DDEBIAN -O2 -g   -DVERSION=\\"1.0\\" -fPIC   NeedsPq.c
NeedsPq.xs:4:10: fatal error: libpq-fe.h: No such file or directory
    4 | #include <libpq-fe.h>
      |          ^~~~~~~~~~~~
compilation terminated.
make: *** [Makefile:330: NeedsPq.o] Error 1
-> FAIL Installing Local::NeedsPq failed. See /opt/app/work/1.1/build.log for details.
-> FAIL Installing the dependencies failed: Module 'Local::NeedsPq' is not installed
-> FAIL Bailing out the installation for ..
"""
NO_CONFIGURE = """\
! Configure failed for Local-NoConf-1.0. See /opt/app/work/1.2/build.log for details.
! Bailing out the installation for ..

Configuring Local-NoConf-1.0
Running Makefile.PL
Can't locate No/Such/Module.pm in @INC (you may need to install the No::Such::Module module) (@INC contains: \
/opt/local/lib/perl5 /etc/perl .) at Makefile.PL line 1.
BEGIN failed--compilation aborted at Makefile.PL line 1.
-> N/A
-> FAIL Configure failed for Local-NoConf-1.0. See /opt/app/work/1.2/build.log for details.
"""
NOT_FOUND = """\
! Finding No::Such::Dist (1) on mirror file:///kept failed.
! Couldn't find module or a distribution No::Such::Dist (1)
! Installing the dependencies failed: Module 'No::Such::Dist' is not installed
! Bailing out the installation for Local-Needs-1.0.

Building Local-Other-1.0
Can't locate Optional.pm in @INC (you may need to install the Optional module)
-> FAIL Finding No::Such::Dist (1) on mirror file:///kept failed.
-> FAIL Couldn't find module or a distribution No::Such::Dist (1)
"""
FAILED_TEST = """\
! Installing Local::BadTest failed. See /opt/app/home/.cpanm/work/1/build.log for details. Retry with --force.

Building and testing Local-BadTest-1.0
t/x.t .. Failed 1/1 subtests
-> FAIL Installing Local::BadTest failed. See /opt/app/home/.cpanm/work/1/build.log for details.
"""


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            NEEDS_HEADER,
            "fatal error: libpq-fe.h: No such file or directory "
            "(add the Debian package libpq-dev to fleet.packages)",
        ),
        (
            NO_CONFIGURE,
            "Can't locate No/Such/Module.pm in @INC (you may need to install the No::Such::Module module)",
        ),
        (NOT_FOUND, "! Couldn't find module or a distribution No::Such::Dist (1)"),
        (FAILED_TEST, "! Installing Local::BadTest failed."),
        (
            "x.c:1:10: fatal error: libxml/parser.h: No such file or directory\n",
            "fatal error: libxml/parser.h: No such file or directory "
            "(add the Debian package libxml2-dev to fleet.packages)",
        ),
        (
            "x.c:1:10: fatal error: own.h: No such file or directory\n",
            "fatal error: own.h: No such file or directory",
        ),
        (
            "/usr/bin/ld: cannot find -lpq: No such file or directory\n"
            "collect2: error: ld returned 1 exit status\n",
            "cannot find -lpq (add the Debian package libpq-dev to fleet.packages)",
        ),
        (
            'Can\'t exec "mysql_config": No such file or directory at Makefile.PL line 89.\nCannot find it\n',
            'Can\'t exec "mysql_config" (add the Debian package libmariadb-dev to fleet.packages)',
        ),
        ("npm ERR! code ELIFECYCLE\nnpm ERR! Missing script: build\n", "npm ERR! Missing script: build"),
        (
            "make: *** No rule to make target 'all'.  Stop.\n",
            "make: *** No rule to make target 'all'.  Stop.",
        ),
        (
            "gzip: stdin: unexpected end of file\ntar: Error is not recoverable: exiting now\n",
            "gzip: stdin: unexpected end of file",
        ),
        ("one\n\ntwo\n \n", "two"),
        ("\x1b[31mred\n", "[31mred"),
        ("", "no reason given"),
    ],
)
def test_the_line_that_helps_is_the_cause(output: str, cause: str) -> None:
    assert failure_cause(output) == cause


@pytest.mark.parametrize(
    ("header", "package"),
    [
        ("magick/MagickCore.h", "libmagickcore-dev"),
        ("magick/api.h", "libgraphicsmagick1-dev"),
        ("openssl/ssl.h", "libssl-dev"),
        ("sybdb.h", "freetds-dev"),
        ("unicode/utypes.h", "libicu-dev"),
        ("krb5.h", "libkrb5-dev"),
        ("ev.h", "libev-dev"),
        ("db.hpp", ""),
        ("own/openssl/ssl.h", ""),
    ],
)
def test_a_header_is_looked_up_by_the_longest_beginning_of_its_path(header: str, package: str) -> None:
    said = f"fatal error: {header}: No such file or directory"
    advice = f" (add the Debian package {package} to fleet.packages)" if package else ""
    assert failure_cause(f"x.c:1:10: {said}\n") == f"{said}{advice}"


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ("sh: 1: curl-config: not found", "libcurl4-openssl-dev"),
        ("/usr/bin/env: 'npm': No such file or directory", "npm"),
        ("pg_config not found", "libpq-dev"),
        ("my-pg_config not found", ""),
        ("Could not find gdlib-config in the search path. Please install libgd", "libgd-dev"),
        ("Can't link/include C library 'gmp.h', 'gmp', aborting.", "libgmp-dev"),
        ("Can't link/include C library 'own', aborting.", ""),
    ],
)
def test_a_program_or_a_library_is_looked_up_by_its_whole_name(said: str, package: str) -> None:
    assert (f"(add the Debian package {package} to fleet.packages)" in failure_cause(said)) == bool(package)


@pytest.mark.parametrize(
    ("distribution", "said", "own", "package"),
    [
        (
            "DBD-Pg-3.18.0",
            "Path to pg_config? No POSTGRES_HOME defined, cannot find automatically",
            ": Path to pg_config? No POSTGRES_HOME defined, cannot find automatically",
            "libpq-dev",
        ),
        (
            "Net-SSLeay-1.92",
            "[n] n\n****\n* COULD NOT FIND LIBSSL HEADERS      *\n*      *\n* The libssl header files are *",
            ": COULD NOT FIND LIBSSL HEADERS",
            "libssl-dev",
        ),
        (
            "XML-Parser-2.46",
            "Expat must be installed prior to building XML::Parser and I can't find\nit in the standard",
            ": Expat must be installed prior to building XML::Parser and I can't find",
            "libexpat1-dev",
        ),
        ("Alien-Libxml2-0.19", "", "", "libxml2-dev"),
        ("Own-Thing-v1.2.3", "It is Tuesday.", "", ""),
    ],
)
def test_a_distribution_that_looks_for_its_library_itself_is_named_with_its_words(
    distribution: str, said: str, own: str, package: str
) -> None:
    log = f"! Configure failed for {distribution}. See /opt/build.log for details.\n\n"
    log += "Configuring Local-Good-1.0\nnothing was found, but could not find libpng\n-> OK\n"
    log += f"Configuring {distribution}\nRunning Makefile.PL\n{said}\n-> N/A\n"
    log += f"-> FAIL Configure failed for {distribution}. See /opt/build.log for details.\n"
    # cpanm goes on with others, which fail because of it.
    log += "-> FAIL Configure failed for DBD-mysql-1.0. See /opt/build.log for details.\n"
    advice = f" (add the Debian package {package} to fleet.packages)" if package else ""
    assert failure_cause(log) == f"Configure failed for {distribution}{own}{advice}"


@pytest.mark.parametrize("table", [HEADERS, LIBRARIES, PROGRAMS, DISTRIBUTIONS])
def test_what_is_advised_can_be_written_into_the_settings(table: dict[str, str]) -> None:
    assert list(table) == sorted(table)
    assert all(re.fullmatch(DEBIAN_PACKAGE, package) for package in table.values())


def test_a_cause_is_bounded() -> None:
    assert len(failure_cause("x" * 10_000)) == LONGEST
