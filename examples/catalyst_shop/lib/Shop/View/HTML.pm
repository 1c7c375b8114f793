package Shop::View::HTML;

use Moose;
use namespace::autoclean;

extends 'Catalyst::View::TT';

use Shop;

__PACKAGE__->config(
    INCLUDE_PATH       => [ Shop->path_to('root') ],
    WRAPPER            => 'wrapper.tt',
    TEMPLATE_EXTENSION => '.tt',
    ENCODING           => 'utf-8',
    render_die         => 1,
);

__PACKAGE__->meta->make_immutable( inline_constructor => 0 );

1;
