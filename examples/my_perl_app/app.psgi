use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MyPerlApp;

MyPerlApp->new( home => $FindBin::Bin )->to_app;
