use strict;
use warnings;

use FindBin;
use HTTP::Request::Common qw(GET POST);
use Plack::Test;
use Plack::Util;
use Test::More;

my $test = Plack::Test->create( Plack::Util::load_psgi("$FindBin::Bin/../app.psgi") );

my %CONTENT = (
    '/'                => qr/\ACalendar v\d/,
    '/health'          => qr/"status":"ok"/,
    '/version'         => qr/"name":"v\d"/,
    '/easter/2027'     => qr/"easter":"2027-03-28"/,
    '/week/2027-01-01' => qr/"week":"2026-W53"/,
);
for my $path ( sort keys %CONTENT ) {
    my $answer = $test->request( GET $path );
    is $answer->code, 200, $path;
    like $answer->content, $CONTENT{$path}, "content of $path";
}
is $test->request( GET $_ )->code, 404, $_
    for qw(/x /easter/1582 /easter/20270 /easter/2027%0A /week/2027-02-29);
is $test->request( POST '/version' )->code, 405, 'POST';

done_testing;
