"""A CPAN mirror: distributions made for tests, and on request real ones from Debian's source packages."""
