use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/lib';

use Plack::Builder;
use Plack::Session::State::Cookie;

use Members;
use Members::Sessions;

# Behind HAProxy, which replaces what clients pretend: https is what X-Forwarded-Proto says.
my $state = Plack::Session::State::Cookie->new(
    session_key => 'members',
    httponly    => 1,
    samesite    => 'Lax',
    secure      => ( $ENV{SESSION_SECURE} // 0 ),
);

my ( $sessions, %options ) = Members::Sessions::middleware( $ENV{SESSION_STORE} // 'redis', $state );

builder {
    enable 'ContentLength';
    # A health check has no session, and needs no store: that is no droplet's own.
    enable_if { $_[0]{PATH_INFO} !~ m{\A/(?:health|version)\z} } $sessions, %options;
    Members->new->to_app;
};
