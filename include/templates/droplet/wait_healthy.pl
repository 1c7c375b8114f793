# Waits until the service gives several good answers in a row; else says what the last answer was and exits 1.
use strict;
use warnings;

use HTTP::Tiny;
use Time::HiRes qw(sleep time);

my ( $url, $revision, $consecutive, $timeout ) = @ARGV;
my $client   = HTTP::Tiny->new( timeout => 5, max_redirect => 0, keep_alive => 0 );
my $deadline = time + $timeout;
my $good     = 0;
my $problem  = 'it was not asked';

while ( $good < $consecutive && time < $deadline ) {
    my $response = $client->get($url);
    my $answered = $response->{headers}{'x-revision'};
    if ( $response->{status} == 599 ) {
        ( $problem = $response->{content} ) =~ s/\s+/ /g;
    }
    elsif ( $response->{status} != 200 ) {
        $problem = "it answers $response->{status}";
    }
    elsif ( !defined $answered ) {
        $problem = 'its answers have no X-Revision, so the server command does not run {psgi}';
    }
    elsif ( $answered ne $revision ) {
        $problem = "revision $answered answers";
    }
    else {
        $good++;
        next;
    }
    $good = 0;
    sleep 0.1;
}

exit 0 if $good >= $consecutive;
print "$problem\n";
exit 1;
