package Calendar::Days;

# Days of the Gregorian calendar.

use strict;
use warnings;

use Exporter qw(import);
use Time::Local qw(timegm_modern);

our @EXPORT_OK = qw(easter iso_week);

# Easter Sunday of a year, as (month, day): the rule of Meeus, Jones and Butcher (Astronomical Algorithms, 1991).
sub easter {
    my ($year) = @_;
    use integer;
    my ( $golden, $century, $rest ) = ( $year % 19, $year / 100, $year % 100 );
    my $moon = ( 19 * $golden + $century - $century / 4 - ( $century - ( $century + 8 ) / 25 + 1 ) / 3 + 15 ) % 30;
    my $day  = ( 32 + 2 * ( $century % 4 ) + 2 * ( $rest / 4 ) - $moon - $rest % 4 ) % 7;
    my $late = ( $golden + 11 * $moon + 22 * $day ) / 451;
    my $sum  = $moon + $day - 7 * $late + 114;
    return ( $sum / 31, $sum % 31 + 1 );
}

# Year and number of a date's week (ISO 8601): weeks begin on Monday, and belong to the year of their Thursday.
# Dies if there is no such date.
sub iso_week {
    my ( $year, $month, $day ) = @_;
    my $noon     = timegm_modern( 0, 0, 12, $day, $month - 1, $year );
    my $weekday  = ( ( gmtime $noon )[6] + 6 ) % 7;
    my @thursday = gmtime $noon + ( 3 - $weekday ) * 86_400;
    return ( $thursday[5] + 1900, 1 + int $thursday[7] / 7 );
}

1;
