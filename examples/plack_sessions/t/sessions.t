use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use HTTP::Request::Common qw(GET POST);
use Plack::Test;
use Plack::Util;
use Test::More;

my @STORES = ( 'cookie', 'files', $ENV{REDIS_URL} ? 'redis' : () );
local $ENV{SESSION_SECRET}  = 'not-a-secret';
local $ENV{STATE_DIRECTORY} = tempdir( CLEANUP => 1 );

sub cookie_of {
    my ($answer) = @_;
    my ($cookie) = ( $answer->header('Set-Cookie') // q{} ) =~ /\A([^;]+)/;
    return Cookie => $cookie;
}

for my $name (@STORES) {
    local $ENV{SESSION_STORE} = $name;
    # Two of them, as the two colors are.
    my ( $blue, $green )
        = map { Plack::Test->create( Plack::Util::load_psgi("$FindBin::Bin/../app.psgi") ) } 1, 2;

    is $blue->request( GET '/me' )->code, 401, "$name: nobody is logged in";
    my $login = $blue->request( POST '/login', [ name => 'ann' ] );
    is $login->code, 200, "$name: a login";
    my @cookie = cookie_of($login);
    like $login->header('Set-Cookie'), qr/HttpOnly/i, "$name: scripts do not see the cookie";

    my $answer = $green->request( GET '/me', @cookie );
    is $answer->content, qq({"name":"ann","visits":1}\n), "$name: logged in on the other color, too";
    is $blue->request( GET '/me', Cookie => "$cookie[1]x" )->code, 401, "$name: a changed cookie is nobody's";
    like $green->request( GET '/', @cookie )->content, qr/You are ann[.]/, "$name: the front page";

    is $green->request( POST '/login', [ name => 'a/b' ] )->code, 400, "$name: no such name";
    is $blue->request( GET '/health' )->header('Set-Cookie'), undef, "$name: a check has no session";
    my $logout = $blue->request( POST '/logout', [], @cookie );
    is $green->request( GET '/me', cookie_of($logout) )->code, 401, "$name: logged out";
}

done_testing;
