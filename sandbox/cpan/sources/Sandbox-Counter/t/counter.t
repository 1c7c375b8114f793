use strict;
use warnings;

use Test::More tests => 1;

use Sandbox::Counter;

is(Sandbox::Counter::sum(40, 2), 42, 'it counts');
