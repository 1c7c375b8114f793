package Members;

# Members log in, and are greeted by their name. Who is logged in is in the session, and in nothing else.

use strict;
use warnings;

use JSON::PP ();
use Plack::Request;

use Members::Release;

my %ROUTES = (
    'GET /'        => \&front_page,
    'GET /health'  => sub { $_[0]->json( 200, { status => 'ok' } ) },
    'GET /version' => sub { $_[0]->json( 200, { name => $Members::Release::NAME } ) },
    'GET /me'      => \&me,
    'POST /login'  => \&login,
    'POST /logout' => \&logout,
);

sub new {
    my ($class) = @_;
    return bless { json => JSON::PP->new->canonical->utf8 }, $class;
}

sub to_app {
    my ($self) = @_;
    return sub {
        my ($env) = @_;
        my $method = $env->{REQUEST_METHOD} eq 'HEAD' ? 'GET' : $env->{REQUEST_METHOD};
        my $handler = $ROUTES{"$method $env->{PATH_INFO}"}
            or return $self->json( 404, { error => 'there is nothing here' } );
        return $self->$handler($env);
    };
}

sub front_page {
    my ( $self, $env ) = @_;
    my $name = $env->{'psgix.session'}{name} // 'nobody';
    my $text = "Members $Members::Release::NAME. $Members::Release::NEWS You are $name.\n";
    return [ 200, [ 'Content-Type' => 'text/plain; charset=utf-8' ], [$text] ];
}

sub me {
    my ( $self, $env ) = @_;
    my $session = $env->{'psgix.session'};
    return $self->json( 401, { error => 'log in first' } ) if !defined $session->{name};
    return $self->json( 200, { name => $session->{name}, visits => ++$session->{visits} } );
}

sub login {
    my ( $self, $env ) = @_;
    my $name = Plack::Request->new($env)->parameters->{name} // q{};
    return $self->json( 400, { error => 'a name has 1 to 40 letters' } ) if $name !~ /\A[a-z0-9]{1,40}\z/a;
    # What was known by the old id, perhaps to somebody else, does not become a member's session.
    $env->{'psgix.session.options'}{change_id} = 1;
    $env->{'psgix.session'} = { name => $name, visits => 0 };
    return $self->json( 200, { name => $name } );
}

sub logout {
    my ( $self, $env ) = @_;
    $env->{'psgix.session'} = {};
    $env->{'psgix.session.options'}{expire} = 1;
    return $self->json( 200, {} );
}

sub json {
    my ( $self, $status, $data ) = @_;
    return [ $status, [ 'Content-Type' => 'application/json' ], [ $self->{json}->encode($data) . "\n" ] ];
}

1;
