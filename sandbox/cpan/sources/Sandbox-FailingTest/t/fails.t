use strict;
use warnings;

use Test::More tests => 1;

is(1, 2, 'one is two');
