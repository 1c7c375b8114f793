package Sandbox::FailingTest;

use strict;
use warnings;

our $VERSION = '@VERSION@';

1;
