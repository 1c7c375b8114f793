package MyPerlApp::Release;

use strict;
use warnings;

our $VERSION = '1.0';

# What the front page says about this release.
our $NAME = 'v1';
our $NEWS = 'The first release.';

1;
