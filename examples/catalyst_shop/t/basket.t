use strict;
use warnings;

use Test::More;

use Shop::Basket;

is( Shop::Basket->from_cookie('2x1.10x3')->to_cookie, '2x1.10x3', 'there and back' );
is( Shop::Basket->from_cookie($_)->to_cookie, q{}, 'nothing' ) for undef, q{}, '0x1', '1x0', '1x100', 'x', "1x1\n";
is( Shop::Basket->from_cookie('1x1.<b>.2x2')->to_cookie, '1x1.2x2', 'what can be understood' );

my $basket = Shop::Basket->from_cookie('1x98');
ok $basket->add(1), 'one more';
ok !$basket->add(1), 'as many as fit';
is $basket->pieces, 99, 'pieces';

my $full = Shop::Basket->from_cookie( join q{.}, map {"${_}x1"} 1 .. 60 );
is $full->pieces, 50, 'the first products';
ok !$full->add(60), 'no room for another product';
ok $full->add(50), 'room for more of one that is there';

done_testing;
