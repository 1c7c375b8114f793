package Chat;

use Mojo::Base 'Mojolicious', -signatures;

use Mojo::File qw(path);
use Mojo::JSON qw(decode_json);

use Chat::Release;
use Chat::Room;

# Bytes of one message of a client; the room's limit on a text counts characters.
my $LARGEST_MESSAGE = 16_384;

sub startup ($self) {
    my $directory = path( $ENV{CHAT_DIRECTORY} || $self->home->child('var')->make_path );
    my $room      = Chat::Room->new( file => $directory->child('messages.jsonl') );

    my $assets = $self->home->child( 'public', 'assets', 'manifest.json' );
    die "$assets is missing: npm run build makes it\n" unless -e $assets;
    my $digests = decode_json( $assets->slurp );

    # The digest is in the query, not in the name: after a switch, a page of the old release gets the new
    # release's file instead of a 404.
    $self->helper( asset   => sub ( $c, $name ) {"/assets/$name?v=$digests->{$name}"} );
    $self->helper( room    => sub ($c)          {$room} );
    $self->helper( release => sub ($c)          {$Chat::Release::NAME} );

    my $r = $self->routes;
    $r->get('/')->to( cb => sub ($c) { $c->render( template => 'room' ) } );
    $r->get('/health')->to( cb => \&health );
    $r->get('/version')->to(
        cb => sub ($c) {
            $c->render( json => { name => $Chat::Release::NAME, version => $Chat::Release::VERSION } );
        }
    );
    $r->websocket('/room')->to( cb => \&join_room );
    return;
}

# Healthy is a droplet that can keep what people write.
sub health ($c) {
    my $problem = $c->room->problem;
    return $c->render( json => { status => 'unhealthy', problem => $problem }, status => 503 ) if $problem;
    return $c->render( json => { status => 'ok' } );
}

sub join_room ($c) {

    # A browser sends a ping of ours back by itself, so nothing has to be said to stay connected.
    $c->inactivity_timeout(60);
    $c->tx->max_websocket_size($LARGEST_MESSAGE);
    my $ping = Mojo::IOLoop->recurring( 20 => sub { $c->tx->send( [ 1, 0, 0, 0, 9, q{} ] ) } );

    $c->send( { json => { type => 'welcome', release => $c->release, messages => $c->room->last_messages } } );
    my $listener = $c->room->on( message => sub ( $room, $message ) { $c->send( { json => $message } ) } );
    $c->on(
        # Of what is not JSON Mojolicious passes nothing on.
        json => sub ( $c, $message = undef ) {
            my $error = $c->room->say( $c->release, $message );
            $c->send( { json => { type => 'error', error => $error } } ) if $error;
        }
    );
    $c->on(
        finish => sub {
            Mojo::IOLoop->remove($ping);
            $c->room->unsubscribe( message => $listener );
        }
    );
    return;
}

1;
