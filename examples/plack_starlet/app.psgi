use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Plack::Builder;

use Calendar::Web;

builder {
    enable 'Head';
    enable 'ContentLength';
    Calendar::Web->new->to_app;
};
