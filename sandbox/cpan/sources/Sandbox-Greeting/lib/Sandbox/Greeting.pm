package Sandbox::Greeting;

use strict;
use warnings;

our $VERSION = '@VERSION@';

sub greeting { return "Hello from Sandbox::Greeting $VERSION" }

1;
