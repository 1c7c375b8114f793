package Shop::Model::Catalogue;

use Moose;
use namespace::autoclean;

extends 'Catalyst::Model::DBIC::Schema';

use Shop;
use Shop::Schema;

__PACKAGE__->config(
    schema_class => 'Shop::Schema',
    connect_info => Shop::Schema->read_only( Shop->path_to('catalogue.db') ),
);

__PACKAGE__->meta->make_immutable;

1;
