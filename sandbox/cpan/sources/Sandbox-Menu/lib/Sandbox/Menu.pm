package Sandbox::Menu;

use strict;
use warnings;

our $VERSION = '@VERSION@';

use Sandbox::Counter;
use Sandbox::Greeting;

sub menu { return join "; ", Sandbox::Greeting::greeting(), Sandbox::Counter::sum(1, 1) . " dishes" }

1;
