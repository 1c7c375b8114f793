# Waits until the service gives several good answers in a row; else says what the last answer was and exits 1.
# Of an answer its head is read and nothing else, and each has one deadline: the release is a stranger's.
use strict;
use warnings;

use IO::Socket::INET;
use Time::HiRes qw(alarm sleep time);

my $LONGEST_ANSWER = 5;
my $LONGEST_HEAD   = 65_536;

my ( $url, $host, $proto, $statuses, $revision, $consecutive, $timeout ) = @ARGV;
my ( $address, $port, $path ) = $url =~ m{\Ahttp://([^/:]+):([0-9]+)(/.*)\z}s
    or die "$url cannot be asked\n";
my %good     = map { $_ => 1 } split /,/, $statuses;
my $deadline = time + $timeout;
my $in_a_row = 0;
my $problem  = 'it was not asked';

while ( $in_a_row < $consecutive && time < $deadline ) {
    $problem = eval { problem_of( head() ) } // $@;
    if ( $problem eq q{} ) {
        $in_a_row++;
        next;
    }
    $in_a_row = 0;
    sleep 0.1;
}

exit 0 if $in_a_row >= $consecutive;
$problem = join q{ }, split q{ }, $problem;
print "$problem\n";
exit 1;

# The head of an answer, without its last, empty line.
sub head {
    local $SIG{ALRM} = sub { die "it gave no whole head of an answer in time\n" };
    local $SIG{PIPE} = 'IGNORE';
    my $left = $deadline - time;
    alarm( $left < 0.1 ? 0.1 : $left < $LONGEST_ANSWER ? $left : $LONGEST_ANSWER );
    my $head = eval { ask() };
    my $error = $@;
    alarm 0;
    die $error if !defined $head;
    return $head;
}

sub ask {
    my $socket = IO::Socket::INET->new( PeerAddr => $address, PeerPort => $port )
        or die "it cannot be reached: $!\n";
    my $asked = "GET $path HTTP/1.1\r\nHost: $host\r\nX-Forwarded-Proto: $proto\r\n"
        . "User-Agent: bluegreen-deploy\r\nConnection: close\r\n\r\n";
    syswrite( $socket, $asked ) or die "it cannot be asked: $!\n";
    my $said = q{};
    while ( $said !~ /\r?\n\r?\n/ ) {
        my $got = sysread $socket, $said, 4096, length $said;
        die "it broke off: $!\n"                                    if !defined $got;
        die "it closed the connection in the head of its answer\n" if !$got;
        die "the head of its answer is longer than $LONGEST_HEAD bytes\n" if length $said > $LONGEST_HEAD;
    }
    return ( split /\r?\n\r?\n/, $said )[0];
}

# An empty string if the answer is good.
sub problem_of {
    my ($head) = @_;
    my ( $line, @headers ) = split /\r?\n/, $head;
    my ($status) = $line =~ m{\AHTTP/1[.][0-9] ([0-9]{3})\b} or return 'it does not speak HTTP';
    my ($answered) = map { /\AX-Revision:\s*(.*?)\s*\z/i ? $1 : () } @headers;
    if ( %good ? !$good{$status} : $status !~ /\A2/ ) {
        my $settings = $status < 500 ? '; see traffic.public_url and validation.statuses' : q{};
        return "it answers $status, asked as $proto://$host$path$settings";
    }
    return 'its answers have no X-Revision, so the server command does not run {psgi}' if !defined $answered;
    return $answered eq $revision ? q{} : 'revision ' . printable($answered) . ' answers';
}

sub printable {
    my ($text) = @_;
    $text =~ s/[^!-~]/?/g;
    return substr $text, 0, 40;
}
