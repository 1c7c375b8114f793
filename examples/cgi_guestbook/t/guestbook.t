use strict;
use warnings;
use utf8;

use Encode qw(decode_utf8 encode_utf8);
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Request::Common qw(GET POST);
use Plack::Test;
use Plack::Util;
use Test::More;

my $directory = File::Temp->newdir;
local $ENV{GUESTBOOK_DIRECTORY} = "$directory";
my $test = Plack::Test->create( Plack::Util::load_psgi( dirname(__FILE__) . '/../app.psgi' ) );

like $test->request( GET '/' )->content,        qr/Release v\d/,     'front page';
like $test->request( GET '/health' )->content,  qr/"status":"ok"/,   'healthy';
like $test->request( GET '/version' )->content, qr/"name":"v\d"/,    'version';

is $test->request( GET '/nothing' )->code, 404, 'no other page';

my $answer = $test->request( POST '/', [ name => encode_utf8('Jürgen'), text => "<b>One</b>\n\tTwo" ] );
is $answer->code, 303, 'written';
is $answer->header('Location'), '/', 'and back';
my $page = decode_utf8( $test->request( GET '/' )->content );
like $page, qr{<dt>Jürgen</dt><dd>&lt;b&gt;One&lt;/b&gt; Two</dd>}, 'an entry, in one line';

$test->request( POST '/', [ name => 'Ada', text => 'Three' ] );
like $test->request( GET '/' )->content, qr{Three.*Two}s, 'the newest is first';

my %BAD = (
    'no name'          => [ text => 'x' ],
    'an empty name'    => [ name => q{ }, text => 'x' ],
    'a long name'      => [ name => 'x' x 41, text => 'x' ],
    'too much of text' => [ name => 'x', text => 'x' x 100_000 ],
);
is $test->request( POST '/', $BAD{$_} )->code, 400, $_ for sort keys %BAD;
like $test->request( GET '/' )->content, qr{Three.*Two}s, 'a request leaves nothing to the next one';

done_testing;
