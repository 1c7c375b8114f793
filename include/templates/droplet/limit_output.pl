# Passes on the first bytes of its input and the last ones, and drops what is in between, however much that is.
use strict;
use warnings;

my ( $first, $last ) = @ARGV;
my ( $tail, $left_out ) = ( '', 0 );

$| = 1;
while ( sysread STDIN, my $part, 65536 ) {
    if ( $first > 0 ) {
        my $shown = substr $part, 0, $first, '';
        print $shown;
        $first -= length $shown;
    }
    $tail .= $part;
    my $excess = length($tail) - $last;
    if ( $excess > 0 ) {
        substr $tail, 0, $excess, '';
        $left_out += $excess;
    }
}
printf "\n(%d KB of this output are left out here)\n", 1 + $left_out / 1024 if $left_out;
print $tail;
