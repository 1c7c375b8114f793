# Loads what its cpanfile names, as an app that has grown for some years does.
use strict;
use warnings;

use Class::XSAccessor ();
use DBI ();
use DateTime ();
use File::Basename qw(dirname);
use HTML::TreeBuilder ();
use Hash::Merge ();
use LWP::UserAgent ();
use Moose ();
use Params::Validate ();
use SQL::Abstract ();
use Template ();
use Types::Standard ();
use YAML::XS ();

open my $file, '<', dirname(__FILE__) . '/RELEASE' or die "cannot read RELEASE: $!\n";
chomp( my $release = <$file> );

sub {
    return [ 200, [ 'Content-Type' => 'text/plain; charset=utf-8' ], ["Release $release\n"] ];
};
