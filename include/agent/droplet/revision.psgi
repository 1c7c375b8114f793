# Put into each release: the application, with the release's revision in every response.
use strict;
use warnings;

use File::Basename ();
use Plack::Util    ();

my $release = File::Basename::dirname( File::Basename::dirname(__FILE__) );

open my $file, '<', "$release/REVISION" or die "cannot read $release/REVISION: $!\n";
chomp( my $revision = <$file> );
close $file or die "cannot read $release/REVISION: $!\n";

# Each framework has its own mode for production; the application's environment may name another.
$ENV{PLACK_ENV} ||= 'production';
$ENV{$_} //= $ENV{PLACK_ENV} for qw(MOJO_MODE DANCER_ENVIRONMENT);

my $app = Plack::Util::load_psgi("$release/$ENV{BLUEGREEN_PSGI}");

# An exception in a delayed response, of which nothing was sent, becomes a response as well.
my $guarded = sub {
    my ( $delayed, $env ) = @_;
    return sub {
        my ($respond) = @_;
        my $begun = 0;
        return if eval { $delayed->( sub { $begun = 1; return $respond->(@_) } ); 1 };
        die $@ if $begun;
        $env->{'psgi.errors'}->print($@);
        $respond->( [ 500, [ 'Content-Type' => 'text/plain' ], ['Internal Server Error'] ] );
        return;
    };
};

sub {
    my ($env) = @_;

    # run_app turns an exception into a response, so that this one has the header, too.
    my $response = Plack::Util::run_app( $app, $env );
    $response = $guarded->( $response, $env ) if ref $response eq 'CODE';
    return Plack::Util::response_cb(
        $response,
        sub {
            Plack::Util::header_set( $_[0][1], 'X-Revision', $revision );
            return;
        }
    );
};
