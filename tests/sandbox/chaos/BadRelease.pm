package BadRelease;

# The sample app as a bad release: whom it answers badly, and how. `bad_releases.py` is the table.

use strict;
use warnings;

use Fcntl          qw(O_CREAT O_EXCL O_WRONLY);
use File::Basename ();
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use POSIX       ();
use Time::HiRes qw(sleep time);

my $PREVIEW_HOST   = qr/\Agreen[.]example[.]com\b/;
my $PORT           = 8080;
my $MEGABYTE       = 'x' x 1_000_000;
my $LONGEST_ANSWER = 600;

# Files of a service's own /tmp: all workers see them, and they go when it is stopped.
my ( $ALREADY, $KNOWN ) = ( '/tmp/already', '/tmp/clients-came' );

my %WHOM = (
    'everybody'            => sub {1},
    'all through HAProxy'  => sub { exists $_[0]{HTTP_X_FORWARDED_FOR} },
    'all after the switch' => \&asks_for_live,
    'only clients'         => \&is_client,
    'all once clients came' => sub {
        mark($KNOWN) if is_client( $_[0] );
        return -e $KNOWN;
    },
);

my %HOW = (
    'drips its head' => past_server(
        sub {
            my ($send) = @_;
            return drip( $send, status_and_revision() . "X-Filler: $MEGABYTE" );
        }
    ),
    'drips its body' => past_server(
        sub {
            my ($send) = @_;
            $send->( status_and_revision() . "Content-Length: 1000000\r\n\r\n" );
            return drip( $send, $MEGABYTE );
        }
    ),
    'never ends its head' => past_server(
        sub {
            my ($send) = @_;
            my $number = 0;
            $send->( status_and_revision() );
            while ( $send->( sprintf "X-Filler-%d: %s\r\n", $number++, 'x' x 1000 ) ) { sleep 0.001 }
            return;
        }
    ),
    'never ends its body' => past_server(
        sub {
            my ($send) = @_;
            $send->( status_and_revision() . "\r\n" );
            while ( $send->($MEGABYTE) ) { sleep 0.05 }
            return;
        }
    ),
    'answers with 400 MB' => past_server(
        sub {
            my ($send) = @_;
            $send->( status_and_revision() . "Content-Length: 400000000\r\n\r\n" );
            for ( 1 .. 400 ) { $send->($MEGABYTE) or last }
            return;
        }
    ),
    'answers with huge headers' => past_server(
        sub {
            my ($send) = @_;
            $send->( status_and_revision() . "X-Filler: $MEGABYTE\r\nContent-Length: 3\r\n\r\nok\n" );
            return;
        }
    ),
    'says nothing'                 => sub { sleep $LONGEST_ANSWER; return error() },
    'hangs at its health path'     => at_health( sub { sleep $LONGEST_ANSWER; return error() } ),
    'drips at its health path'     => at_health( sub { past_drip( $_[0] ) } ),
    'answers only what is watched' => sub { $_[0]{PATH_INFO} =~ m{\A/(?:health)?\z} ? undef : error() },
    'has another revision'         => past_server(
        sub {
            my ($send) = @_;
            my $other = 'dead' x 10;
            $send->("HTTP/1.1 200 OK\r\nX-Revision: $other\r\nContent-Length: 3\r\n\r\nok\n");
            return;
        }
    ),
    'logs 50 MB/s' => sub {
        in_background( sub { log_loudly($LONGEST_ANSWER) } );
        return error();
    },
    'forks away' => sub {
        in_background( \&serve_as_orphan );
        return error();
    },
    'fills its disk'            => sub { fill_disk();   return error() },
    'fills its disk with files' => sub { fill_inodes(); return error() },
    'leaks memory'              => \&leak_memory,
);

my %AS_IT_LOADS = (
    'logs 50 MB/s as it loads' => sub { log_loudly(4); die "this release only talks\n" },
    'forks away as it loads'   => sub {
        in_background( \&serve_as_orphan );
    },
);

# A good PSGI application, made bad.
sub app {
    my ( $good, $how, $whom ) = @_;
    $AS_IT_LOADS{$how}->() if $AS_IT_LOADS{$how};
    my ( $answer, $is_hit ) = ( $HOW{$how}, $WHOM{$whom} );
    return $good if !$answer;
    return sub {
        my ($env) = @_;
        my $bad = $is_hit->($env) && $answer->($env);
        return $bad || $good->($env);
    };
}

sub asks_for_live {
    my ($env) = @_;
    return exists $env->{HTTP_X_FORWARDED_FOR} && ( $env->{HTTP_HOST} // q{} ) !~ $PREVIEW_HOST;
}

sub is_client {
    my ($env) = @_;
    return ( $env->{HTTP_USER_AGENT} // q{} ) eq 'traffic-judge';
}

sub at_health {
    my ($answer) = @_;
    return sub { $_[0]{PATH_INFO} eq '/health' ? $answer->(@_) : undef };
}

sub error { return [ 500, [ 'Content-Type' => 'text/plain' ], ["This release is bad.\n"] ] }

sub past_drip { return $HOW{'drips its head'}->(@_) }

# Writes to the connection itself, since no server would send that.
sub past_server {
    my ($write) = @_;
    return sub {
        my ($env) = @_;
        my $io = $env->{'psgix.io'};
        return sub {
            local $SIG{PIPE} = 'IGNORE';
            my $end = time + $LONGEST_ANSWER;
            $write->( sub { send_all( $io, $_[0], $end ) } );
            return;
        };
    };
}

# False if whoever asked has gone.
sub send_all {
    my ( $io, $data, $end ) = @_;
    my $writable = IO::Select->new($io);
    while ( length $data ) {
        return 0 if time > $end;
        next     if !$writable->can_write(1);
        my $written = syswrite $io, $data;
        next     if !defined $written && ( $!{EAGAIN} || $!{EINTR} );
        return 0 if !$written;
        substr $data, 0, $written, q{};
    }
    return 1;
}

# A byte a second, so that no limit on silence is ever met.
sub drip {
    my ( $send, $data ) = @_;
    my $start = index( $data, 'X-Filler' ) > 0 ? index( $data, 'X-Filler' ) : 1;
    $send->( substr $data, 0, $start );
    for my $byte ( split //, substr $data, $start, $LONGEST_ANSWER ) {
        $send->($byte) or last;
        sleep 1;
    }
    return;
}

sub status_and_revision {
    my $home = File::Basename::dirname( File::Basename::dirname(__FILE__) );
    open my $file, '<', "$home/REVISION" or die "cannot read REVISION: $!\n";
    chomp( my $revision = <$file> );
    close $file or die "cannot read REVISION: $!\n";
    return "HTTP/1.1 200 OK\r\nX-Revision: $revision\r\nConnection: close\r\n";
}

# True for the first who asks.
sub mark {
    my ($path) = @_;
    return sysopen my $file, $path, O_WRONLY | O_CREAT | O_EXCL;
}

# Once for a service: in a session of its own, adopted by whoever adopts orphans, deaf to all that asks it to end.
sub in_background {
    my ( $work, $marker ) = @_;
    return if !mark( $marker // $ALREADY );
    my $child = fork // die "cannot fork: $!\n";
    if ($child) {
        waitpid $child, 0;
        return;
    }
    POSIX::setsid();
    POSIX::_exit(0) if fork;
    @SIG{qw(HUP INT QUIT TERM PIPE)} = ('IGNORE') x 5;
    $work->();
    POSIX::_exit(0);
}

sub log_loudly {
    my ($seconds) = @_;
    my $line      = ( 'x' x 39_999 ) . "\n";
    my $end       = time + $seconds;
    while ( time < $end ) {
        my $began = time;
        syswrite STDERR, $line for 1 .. 125;
        my $left = $began + 0.1 - time;
        sleep $left if $left > 0;
    }
    return;
}

# Holds the port that the service had: every socket that was open when it was forked, it still has.
sub serve_as_orphan {
    my @listening = grep { defined && is_listening($_) } map { IO::Handle->new_from_fd( $_, 'r+' ) } 3 .. 20;
    my $end       = time + $LONGEST_ANSWER;
    while ( time < $end ) {
        if ( !@listening ) {
            push @listening, grep {defined} IO::Socket::INET->new( Listen => 100, LocalPort => $PORT, ReuseAddr => 1 );
            sleep 0.01;
        }
        for my $socket ( IO::Select->new(@listening)->can_read(1) ) {
            accept my $client, $socket or next;
            syswrite $client, "HTTP/1.1 500 orphan\r\nX-Revision: orphan\r\nContent-Length: 0\r\n\r\n";
            close $client;
        }
        sleep 0.01;
    }
    return;
}

sub is_listening {
    my ($handle) = @_;
    my $found = getsockopt $handle, Socket::SOL_SOCKET(), Socket::SO_ACCEPTCONN();
    return $found && unpack 'i', $found;
}

# What the kernel does to the largest process of a machine that has no more memory; the sandbox's have no limit.
sub leak_memory {
    our $leaked .= $MEGABYTE x 50;
    kill KILL => $$ if length $leaked > 300_000_000;
    return;
}

# All that the app may fill for good: its state outlives the release.
sub fill_disk {
    return if !mark($ALREADY);
    open my $file, '>', "$ENV{STATE_DIRECTORY}/filler" or return;
    while ( syswrite $file, $MEGABYTE ) { }
    close $file;
    return;
}

# The same with files that are empty.
sub fill_inodes {
    return if !mark($ALREADY);
    my ( $directory, $number ) = ( "$ENV{STATE_DIRECTORY}/files", 0 );
    mkdir $directory;
    while ( open my $file, '>', $directory . q{/} . $number++ ) { close $file }
    return;
}

1;
