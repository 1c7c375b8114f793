package Sandbox::Hanging;

use strict;
use warnings;

our $VERSION = '@VERSION@';

1;
