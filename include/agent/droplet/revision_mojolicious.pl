# Put into each release: the script of a Mojolicious application, with the release's revision in every response.
# The arguments are those of the script; with `check`, the application is loaded, and that is all.
use strict;
use warnings;

use File::Basename ();
use Mojo::Server   ();

my $release = File::Basename::dirname( File::Basename::dirname(__FILE__) );

open my $file, '<', "$release/REVISION" or die "cannot read $release/REVISION: $!\n";
chomp( my $revision = <$file> );
close $file or die "cannot read $release/REVISION: $!\n";

# With PLACK_ENV, the commands of Mojolicious take themselves for a PSGI application, and end at once.
my $mode = delete $ENV{PLACK_ENV};
$ENV{MOJO_MODE} //= $mode // 'production';

my $app = Mojo::Server->new->load_app("$release/$ENV{BLUEGREEN_SCRIPT}");

# Set when a transaction begins, and again when a response is sent: the application may have set a header of that name,
# or replaced the response. A WebSocket's handshake is a transaction as well.
my $mark = sub { $_[0]->res->headers->header( 'X-Revision' => $revision ) };
$app->hook(
    after_build_tx => sub {
        my ($tx) = @_;
        $mark->($tx);
        $tx->on( resume => $mark );
    }
);

$app->start(@ARGV) unless "@ARGV" eq 'check';
