package Members::Sessions;

# Where sessions are, by one variable of the environment.

use strict;
use warnings;

use JSON::PP     ();
use MIME::Base64 ();
use Plack::Session::Store;

use Members::Sessions::Files;
use Members::Sessions::Redis;

# Seconds without a visit after which a session is over.
my $LASTS = 14 * 86_400;

# Return what is enabled for a store:
#   redis   in Redis at REDIS_URL, for example redis://:password@10.0.0.5:6379
#   cookie  in the client's cookie, signed with SESSION_SECRET
#   files   in files of this droplet, which a switch leaves behind
#   memory  in this process; a server with several has as many stores
sub middleware {
    my ( $store, $state ) = @_;
    return ( 'Session::Cookie', cookie_options($state) ) if $store eq 'cookie';
    my %stores = (
        redis  => sub { Members::Sessions::Redis->new( $ENV{REDIS_URL} // q{}, $LASTS ) },
        files  => sub { Members::Sessions::Files->new($LASTS) },
        memory => sub { Plack::Session::Store->new },
    );
    my $made = $stores{$store} or die "SESSION_STORE is not redis, cookie, files or memory\n";
    return ( 'Session', state => $state, store => $made->() );
}

sub cookie_options {
    my ($state) = @_;
    # Both colors need the same one, so it is not made here.
    my $secret = $ENV{SESSION_SECRET} or die "SESSION_SECRET is missing\n";
    # Not Storable, which runs code of classes: whoever learns the secret would run it here.
    my $json = JSON::PP->new->utf8;
    return (
        session_key  => $state->session_key,
        httponly     => 1,
        secure       => $state->secure,
        expires      => $LASTS,
        secret       => $secret,
        serializer   => sub { MIME::Base64::encode_base64( $json->encode( $_[0] ), q{} ) },
        deserializer => sub { $json->decode( MIME::Base64::decode_base64( $_[0] ) ) },
    );
}

1;
