package Shop::Schema::ResultSet::Product;

use strict;
use warnings;

use parent 'DBIx::Class::ResultSet';

sub by_name {
    my ($self) = @_;
    return $self->search( undef, { order_by => 'name' } );
}

1;
