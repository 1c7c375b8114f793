package Shop::Schema::Result::Product;

use strict;
use warnings;

use parent 'DBIx::Class::Core';

__PACKAGE__->table('products');
__PACKAGE__->add_columns(
    id    => { data_type => 'integer' },
    name  => { data_type => 'text' },
    about => { data_type => 'text' },
    cents => { data_type => 'integer' },
);
__PACKAGE__->set_primary_key('id');
__PACKAGE__->add_unique_constraint( ['name'] );

sub price {
    my ($self) = @_;
    return sprintf '%.2f', $self->cents / 100;
}

1;
