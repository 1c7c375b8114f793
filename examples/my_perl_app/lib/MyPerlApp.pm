package MyPerlApp;

use strict;
use warnings;

use File::Temp ();
use JSON::PP   ();
use Plack::Request;
use Time::HiRes ();
use Try::Tiny;

use MyPerlApp::Release;
use MyPerlApp::Streams;

my $LONGEST_SLOW = 120;

my %HANDLERS = (
    'GET /'        => \&front_page,
    'GET /health'  => \&health,
    'GET /version' => \&version,
    'GET /slow'    => \&slow,
    'GET /stream'  => \&MyPerlApp::Streams::stream,
    'GET /upgrade' => \&MyPerlApp::Streams::upgrade,
    'POST /echo'   => \&echo,
);

sub new {
    my ( $class, %args ) = @_;
    my $self = bless {%args}, $class;
    $self->{quotes} = $self->read_quotes;
    return $self;
}

sub to_app {
    my ($self) = @_;
    return sub {
        my ($env) = @_;
        my $request = Plack::Request->new($env);
        return try {
            $self->dispatch($request);
        }
        catch {
            warn sprintf '%s %s: %s', $request->method, $request->path, $_;
            text( 500, "Something went wrong; it is in the log.\n" );
        };
    };
}

sub dispatch {
    my ( $self, $request ) = @_;
    my $path    = $request->path;
    my $method  = $request->method eq 'HEAD' ? 'GET' : $request->method;
    my $handler = $HANDLERS{"$method $path"};
    return $handler->( $self, $request ) if $handler;
    return text( 405, "This path does not take $method.\n" )
        if grep { (split)[1] eq $path } keys %HANDLERS;
    return text( 404, "There is nothing here.\n" );
}

sub front_page {
    my ($self) = @_;
    my $quote  = $self->{quotes}[ int rand @{ $self->{quotes} } ];
    my $body   = <<"HTML";
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>My Perl app $MyPerlApp::Release::NAME</title></head>
<body>
<h1>My Perl app $MyPerlApp::Release::NAME</h1>
<p>$MyPerlApp::Release::NEWS</p>
<blockquote>$quote</blockquote>
</body>
</html>
HTML
    return [ 200, [ 'Content-Type' => 'text/html; charset=utf-8' ], [$body] ];
}

# What the other answers need: the quotes, and room for the temporary files that hold large requests.
sub health {
    my ($self) = @_;
    my %checks = (
        quotes    => sub { @{ $self->read_quotes } or die "there are none\n" },
        temporary => sub {
            my $file = File::Temp->new;
            print {$file} 'x' x 4096 or die "$!\n";
            close $file              or die "$!\n";
        },
    );
    my %problems;
    for my $name ( keys %checks ) {
        try { $checks{$name}->() } catch { chomp( $problems{$name} = $_ ) };
    }
    return json( 503, { status => 'sick', problems => \%problems } ) if %problems;
    return json( 200, { status => 'ok' } );
}

sub version {
    return json( 200, { name => $MyPerlApp::Release::NAME, version => $MyPerlApp::Release::VERSION } );
}

sub slow {
    my ( $self, $request ) = @_;
    my $seconds = $request->query_parameters->{s} // 1;
    return text( 400, "s is a number of seconds, at most $LONGEST_SLOW.\n" )
        if $seconds !~ /\A[0-9]{1,3}(?:[.][0-9]{1,3})?\z/ || $seconds > $LONGEST_SLOW;
    Time::HiRes::sleep($seconds) if $seconds > 0;
    return text( 200, "That took $seconds s.\n" );
}

sub echo {
    my ( $self, $request ) = @_;
    my $type = $request->content_type || 'application/octet-stream';
    return [ 200, [ 'Content-Type' => $type ], [ $request->content ] ];
}

sub read_quotes {
    my ($self) = @_;
    my $path = "$self->{home}/share/quotes.txt";
    open my $file, '<', $path or die "cannot read $path: $!\n";
    my @quotes = grep {/\S/} <$file>;
    close $file or die "cannot read $path: $!\n";
    chomp @quotes;
    return \@quotes;
}

sub text {
    my ( $status, $body ) = @_;
    return [ $status, [ 'Content-Type' => 'text/plain; charset=utf-8' ], [$body] ];
}

sub json {
    my ( $status, $data ) = @_;
    my $body = JSON::PP->new->canonical->utf8->encode($data) . "\n";
    return [ $status, [ 'Content-Type' => 'application/json' ], [$body] ];
}

1;
