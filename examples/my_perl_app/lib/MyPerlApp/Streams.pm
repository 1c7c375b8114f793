package MyPerlApp::Streams;

# Answers that last: each keeps one worker of the server busy until its end.

use strict;
use warnings;

use Time::HiRes ();

use MyPerlApp::Release;

my $LONGEST_SECONDS = 600;
my $MOST_BYTES      = 100_000_000;
my $TICK            = 0.05;

# That many bytes, spread evenly over that many seconds. Content-Length tells a client whether it got all.
sub stream {
    my ( $app, $request ) = @_;
    my $seconds = $request->query_parameters->{seconds} // 1;
    my $bytes   = $request->query_parameters->{bytes}   // 100_000;
    return MyPerlApp::text( 400, "seconds is a number, at most $LONGEST_SECONDS.\n" )
        if $seconds !~ /\A[0-9]{1,3}(?:[.][0-9]{1,3})?\z/ || $seconds > $LONGEST_SECONDS;
    return MyPerlApp::text( 400, "bytes is a whole number, at most $MOST_BYTES.\n" )
        if $bytes !~ /\A[0-9]{1,9}\z/ || $bytes > $MOST_BYTES;

    my @head = ( 200, [ 'Content-Type' => 'application/octet-stream', 'Content-Length' => $bytes ] );
    return [ @head, [] ] if $request->method eq 'HEAD';
    my $io = $request->env->{'psgix.io'};
    return sub {
        my ($respond) = @_;
        my $writer    = $respond->( [@head] );
        my $start     = Time::HiRes::clock_gettime( Time::HiRes::CLOCK_MONOTONIC() );
        my $sent      = 0;

        # A client that has gone must not keep a worker busy.
        while ( $sent < $bytes && $io->connected ) {
            my $passed = Time::HiRes::clock_gettime( Time::HiRes::CLOCK_MONOTONIC() ) - $start;
            my $due    = $passed < $seconds ? int( $bytes * $passed / $seconds ) : $bytes;
            $writer->write( 'x' x ( $due - $sent ) ) if $due > $sent;
            $sent = $due;
            Time::HiRes::sleep($TICK) if $sent < $bytes;
        }
        $writer->close;
    };
}

# A connection that stops being HTTP, as those of WebSockets do: each line comes back with the release's name.
sub upgrade {
    my ( $app, $request ) = @_;
    my $io = $request->env->{'psgix.io'};
    return [ 426, [ 'Upgrade' => 'echo', 'Content-Type' => 'text/plain' ], ["Upgrade: echo is needed.\n"] ]
        if lc( $request->header('Upgrade') // q{} ) ne 'echo';
    return sub {
        print {$io} "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        while ( defined( my $line = <$io> ) ) {
            print {$io} "$MyPerlApp::Release::NAME: $line";
        }
    };
}

1;
