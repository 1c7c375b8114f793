package Members::Release;

use strict;
use warnings;

our $VERSION = '1.0';

our $NAME = 'v1';
our $NEWS = 'The first release.';

1;
