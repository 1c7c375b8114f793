use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Plack::Builder;

use Shop;

builder {
    enable 'Static', path => qr{\A/static/}, root => Shop->path_to('root')->stringify;
    Shop->psgi_app;
};
