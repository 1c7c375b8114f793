package Sandbox::Counter;

use strict;
use warnings;

our $VERSION = '@VERSION@';

require XSLoader;
XSLoader::load("Sandbox::Counter", $VERSION);

1;
