use strict;
use warnings;

use Mojo::File qw(curfile path tempdir);
use Test::More;
use Test::Mojo;

my $home = curfile->dirname->dirname;
plan skip_all => 'npm run build makes the assets' unless -e $home->child(qw(public assets manifest.json));

my $directory = tempdir;
local $ENV{CHAT_DIRECTORY} = "$directory";
my $t = Test::Mojo->new('Chat');

$t->get_ok('/')->status_is(200)->content_like(qr/Release v\d/);
my ($script) = $t->tx->res->body =~ m{src="(/assets/chat[.]js[?]v=[0-9a-f]{12})"};
$t->get_ok($script)->status_is(200)->content_like(qr/new WebSocket/);
$t->get_ok('/health')->status_is(200)->json_is( '/status' => 'ok' );
$t->get_ok('/version')->status_is(200)->json_like( '/name' => qr/\Av\d\z/ );

$t->websocket_ok('/room')->message_ok->json_message_is( '/type' => 'welcome' );
$t->send_ok( { json => { name => 'Ada', text => "Hello,\n<b>world</b>" } } );
$t->message_ok->json_message_is( '/name' => 'Ada' )->json_message_is( '/text' => 'Hello, <b>world</b>' );

# What another worker process, or one that has ended, has written.
path("$directory/messages.jsonl")->open('>>')->syswrite(qq({"type":"message","name":"Grace","text":"Hi"}\n));
$t->message_ok->json_message_is( '/name' => 'Grace' );

$t->send_ok( { json => { name => 'Ada', text => q{ } } } )->message_ok->json_message_is( '/type' => 'error' );
$t->send_ok('Hello?')->message_ok->json_message_is( '/type' => 'error' );
$t->send_ok( { json => ['Ada'] } )->message_ok->json_message_is( '/type' => 'error' );
$t->finish_ok;

$t->websocket_ok('/room')->message_ok->json_message_is( '/messages/1/name' => 'Grace' )->finish_ok;

done_testing;
