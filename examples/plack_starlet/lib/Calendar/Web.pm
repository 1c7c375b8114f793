package Calendar::Web;

# A small API of dates, in plain PSGI.

use strict;
use warnings;

use JSON::PP ();
use Plack::Request;

use Calendar::Days qw(easter iso_week);
use Calendar::Release;

# Gregorian Easter begins in 1583.
my $YEAR = qr/158[3-9]|159\d|1[6-9]\d\d|[2-9]\d\d\d/a;

my @ROUTES = (
    [ qr{\A/\z},                                  \&front_page ],
    [ qr{\A/health\z},                            \&health ],
    [ qr{\A/version\z},                           \&version ],
    [ qr{\A/easter/($YEAR)\z},                    \&easter_of ],
    [ qr{\A/week/($YEAR)-([01]\d)-([0-3]\d)\z}a,  \&week_of ],
);

sub new {
    my ($class) = @_;
    return bless { json => JSON::PP->new->canonical->utf8 }, $class;
}

sub to_app {
    my ($self) = @_;
    return sub {
        my ($env) = @_;
        my $request = Plack::Request->new($env);
        for my $route (@ROUTES) {
            my ( $pattern, $handler ) = @{$route};
            my @arguments = $request->path =~ $pattern or next;
            return $self->error( 405, 'only GET is possible' ) if $request->method !~ /\A(?:GET|HEAD)\z/;
            return $self->$handler(@arguments);
        }
        return $self->error( 404, 'there is no such path' );
    };
}

sub front_page {
    my ($self) = @_;
    my $text = <<"TEXT";
Calendar $Calendar::Release::NAME. $Calendar::Release::NEWS

GET /easter/2027      Easter Sunday of a year
GET /week/2027-01-01  the ISO week of a day
TEXT
    return [ 200, [ 'Content-Type' => 'text/plain; charset=utf-8' ], [$text] ];
}

sub health {
    my ($self) = @_;
    return $self->json( 200, { status => 'ok' } );
}

sub version {
    my ($self) = @_;
    return $self->json( 200, { name => $Calendar::Release::NAME, version => $Calendar::Release::VERSION } );
}

sub easter_of {
    my ( $self, $year ) = @_;
    return $self->json( 200, { easter => sprintf '%04d-%02d-%02d', $year, easter($year) } );
}

sub week_of {
    my ( $self, @date ) = @_;
    my @week = eval { iso_week(@date) } or return $self->error( 404, 'there is no such day' );
    return $self->json( 200, { week => sprintf '%04d-W%02d', @week } );
}

sub error {
    my ( $self, $status, $text ) = @_;
    return $self->json( $status, { error => $text } );
}

sub json {
    my ( $self, $status, $data ) = @_;
    return [ $status, [ 'Content-Type' => 'application/json' ], [ $self->{json}->encode($data) . "\n" ] ];
}

1;
