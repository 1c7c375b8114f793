use strict;
use warnings;
use utf8;

use Encode qw(decode_utf8);
use FindBin;
use HTTP::Request::Common qw(GET POST);
use Plack::Test;
use Plack::Util;
use Test::More;

my $home = "$FindBin::Bin/..";
plan skip_all => 'bin/make-catalogue makes the catalogue' unless -e "$home/catalogue.db";

my $test = Plack::Test->create( Plack::Util::load_psgi("$home/app.psgi") );

my $front = $test->request( GET '/' );
is $front->code, 200, 'front page';
like decode_utf8( $front->content ), qr{Cafetière</a> 19[.]99}, 'a product with its price';
is $test->request( GET '/static/shop.css' )->code, 200, 'a static file';
is $test->request( GET '/static/../app.psgi' )->code, 403, 'no other file';

like $test->request( GET '/health' )->content,    qr/"status":"ok"/, 'healthy';
like $test->request( GET '/version' )->content,   qr/"name":"v\d"/,  'version';
is $test->request( GET "/$_" )->code, 404, "no $_" for qw(nothing product/0 product/999 product/1x);

my $added = $test->request( POST '/basket/add/1' );
is $added->code, 303, 'added';
my ($cookie) = $added->header('Set-Cookie') =~ /\A(basket=1x1);/;
ok $cookie, 'a cookie';
like $test->request( GET '/basket', Cookie => $cookie )->content, qr/Together: 12[.]50/, 'a basket';
is $test->request( GET '/basket/add/1' )->code, 404, 'a link puts nothing into it';
is $test->request( POST '/basket/add/1', Cookie => 'basket=1x99' )->code, 409, 'a full one';

my $prices = $test->request( GET '/prices.json' );
like $prices->content, qr/"Cup":"4[.]80"/, 'prices';
is $test->request( GET '/prices.json', 'If-None-Match' => $prices->header('ETag') )->code, 304, 'unchanged';

done_testing;
