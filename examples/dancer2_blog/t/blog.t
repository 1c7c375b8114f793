use strict;
use warnings;
use utf8;

use Encode qw(decode_utf8 encode_utf8);
use HTTP::Request::Common qw(GET POST);
use Plack::Test;
use Test::More;

BEGIN { $ENV{DANCER_ENVIRONMENT} ||= 'production' }
use Blog;

local $ENV{BLOG_TOKEN} = 'letmein';
my $test  = Plack::Test->create( Blog->to_app );
my @token = ( Authorization => 'Bearer letmein' );

is $test->request( GET '/health' )->code, 200, 'healthy';
like $test->request( GET '/version' )->content, qr/"name":"v\d"/, 'version';

my %post = ( title => 'Über <b>Perl</b>', text => "One.\n\nTwo." );
my @form = map { $_ => encode_utf8( $post{$_} ) } sort keys %post;
is $test->request( POST '/posts', [@form] )->code, 403, 'no token';
is $test->request( POST '/posts', [@form], Authorization => 'Bearer letmeim' )->code, 403, 'a wrong token';
is $test->request( POST '/posts', [ title => q{ }, text => 'x' ], @token )->code, 400, 'no title';

SKIP: {
    skip 'DATABASE_URL names no database', 1 unless $ENV{DATABASE_URL};
    my $answer = $test->request( POST '/posts', [@form], @token );
    is $answer->code, 201, 'published';
    my $page = decode_utf8( $test->request( GET $answer->header('Location') )->content );
    like $page, qr{<h2>Über &lt;b&gt;Perl&lt;/b&gt;</h2>}, 'escaped';
    like $page, qr{<p>\s*One[.]\s*</p>\s*<p>\s*Two[.]},     'in paragraphs';
    like decode_utf8( $test->request( GET '/' )->content ), qr/Über/, 'on the front page';
    is $test->request( GET '/posts/999999999' )->code, 404, 'no such post';
    is $test->request( GET '/posts/1%20OR%201' )->code, 404, 'no such id';
}

done_testing;
