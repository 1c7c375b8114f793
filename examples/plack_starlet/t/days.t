use strict;
use warnings;

use Test::More;

use Calendar::Days qw(easter iso_week);

# Known from tables, the earliest and the latest possible days among them.
my %EASTER = (
    1583 => [ 4, 10 ],
    1818 => [ 3, 22 ],
    1943 => [ 4, 25 ],
    2024 => [ 3, 31 ],
    2026 => [ 4, 5 ],
);
is_deeply [ easter($_) ], $EASTER{$_}, "Easter of $_" for sort keys %EASTER;

# The first and last days of years, which may belong to a week of another year.
my %WEEK = (
    '2020-12-31' => [ 2020, 53 ],
    '2021-01-03' => [ 2020, 53 ],
    '2021-01-04' => [ 2021, 1 ],
    '2024-12-30' => [ 2025, 1 ],
    '2026-11-30' => [ 2026, 49 ],
);
is_deeply [ iso_week( split /-/ ) ], $WEEK{$_}, "week of $_" for sort keys %WEEK;
ok !eval { iso_week( 2026, 2, 29 ); 1 }, 'no such day';

done_testing;
