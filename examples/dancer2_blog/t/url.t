use strict;
use warnings;

use Test::More;

use Blog::DatabaseUrl;

is_deeply(
    [ Blog::DatabaseUrl::parse('postgres://ada:s%40%3Acret@10.0.0.5:6432/blog') ],
    [ 'dbi:Pg:host=10.0.0.5;port=6432;dbname=blog', 'ada', 's@:cret' ],
    'escaped characters of a password'
);
is_deeply(
    [ Blog::DatabaseUrl::parse('postgresql://db.example.com/blog') ],
    [ 'dbi:Pg:host=db.example.com;port=5432;dbname=blog', undef, undef ],
    'the usual port'
);
for my $url ( undef, q{}, 'mysql://ada:secret@host/blog', 'postgres://ada:secret@host/blog;host=evil' ) {
    ok !eval { Blog::DatabaseUrl::parse($url); 1 }, 'refused';
    unlike $@, qr/secret/, 'without its password';
}

done_testing;
