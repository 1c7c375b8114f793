package Shop::Basket;

# What a client wants to buy. It is kept in a cookie, so any droplet of any color can go on with it, and no session
# has to survive a switch. It has ids and numbers only: prices are the catalogue's.

use Moose;
use namespace::autoclean;

has quantities => ( is => 'ro', isa => 'HashRef[Int]', default => sub { {} } );

my $MOST_PRODUCTS = 50;
my $MOST_PIECES   = 99;

# Whatever a client sends is a basket, perhaps an empty one.
sub from_cookie {
    my ( $class, $text ) = @_;
    my %quantities;
    for my $part ( split /[.]/, substr $text // q{}, 0, 1000 ) {
        my ( $id, $pieces ) = $part =~ /\A([1-9][0-9]{0,5})x([1-9][0-9]?)\z/ or next;
        $quantities{$id} = $pieces if keys %quantities < $MOST_PRODUCTS;
    }
    return $class->new( quantities => \%quantities );
}

sub to_cookie {
    my ($self) = @_;
    my $quantities = $self->quantities;
    return join q{.}, map {"${_}x$quantities->{$_}"} sort { $a <=> $b } keys %{$quantities};
}

# Returns whether there was room for it.
sub add {
    my ( $self, $id ) = @_;
    my $quantities = $self->quantities;
    return 0 if !$quantities->{$id} && keys %{$quantities} >= $MOST_PRODUCTS;
    return 0 if ( $quantities->{$id} // 0 ) >= $MOST_PIECES;
    $quantities->{$id}++;
    return 1;
}

sub pieces {
    my ($self) = @_;
    my $pieces = 0;
    $pieces += $_ for values %{ $self->quantities };
    return $pieces;
}

__PACKAGE__->meta->make_immutable;

1;
