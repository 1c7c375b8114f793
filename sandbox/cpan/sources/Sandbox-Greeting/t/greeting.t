use strict;
use warnings;

use Test::More tests => 1;

use Sandbox::Greeting;

like(Sandbox::Greeting::greeting(), qr/^Hello from Sandbox::Greeting [0-9.]+$/, 'it greets');
