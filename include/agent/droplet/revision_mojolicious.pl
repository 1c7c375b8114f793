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

# Before anything of the application's sees the response; a WebSocket's handshake is one, too.
$app->hook(
    after_build_tx => sub {
        my ($tx) = @_;
        $tx->res->headers->header( 'X-Revision' => $revision );
    }
);

$app->start(@ARGV) unless "@ARGV" eq 'check';
