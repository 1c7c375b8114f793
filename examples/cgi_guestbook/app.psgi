use strict;
use warnings;

use Cwd qw(realpath);
use File::Basename qw(dirname);
my $home;
BEGIN { $home = realpath( dirname(__FILE__) ) }
use lib "$home/lib";

use JSON::PP ();
use Plack::App::WrapCGI;
use Plack::Builder;

use Guestbook::Entries;
use Guestbook::Release;

# data is a path of its own that releases share (setting `shared`).
$ENV{GUESTBOOK_DIRECTORY} ||= "$home/data";

# Compiled once and then called for each request, in the server's own process.
my $script = Plack::App::WrapCGI->new( script => "$home/cgi-bin/guestbook.cgi" )->to_app;

my $json = sub {
    my ( $status, $data ) = @_;
    return [ $status, [ 'Content-Type' => 'application/json' ], [ JSON::PP->new->canonical->utf8->encode($data) ] ];
};

builder {
    mount '/health' => sub {
        my $problem = Guestbook::Entries->new( $ENV{GUESTBOOK_DIRECTORY} )->problem;
        return $problem
            ? $json->( 503, { status => 'unhealthy', problem => $problem } )
            : $json->( 200, { status => 'ok' } );
    };
    mount '/version' => sub {
        return $json->( 200, { name => $Guestbook::Release::NAME, version => $Guestbook::Release::VERSION } );
    };
    mount '/' => sub {
        my ($env) = @_;
        return $env->{PATH_INFO} eq q{/} ? $script->($env) : $json->( 404, { error => 'there is nothing here' } );
    };
};
