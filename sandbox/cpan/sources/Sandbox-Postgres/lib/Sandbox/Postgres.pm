package Sandbox::Postgres;

use strict;
use warnings;

our $VERSION = '@VERSION@';

require XSLoader;
XSLoader::load("Sandbox::Postgres", $VERSION);

1;
