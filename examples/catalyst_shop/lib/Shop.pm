package Shop;

use Moose;
use namespace::autoclean;

use Catalyst::Runtime 5.90;
use Catalyst;

use Shop::Release;

extends 'Catalyst';

our $VERSION = $Shop::Release::VERSION;

__PACKAGE__->config(
    name                                        => 'Shop',
    encoding                                    => 'UTF-8',
    default_view                                => 'HTML',
    disable_component_resolution_regex_fallback => 1,
    enable_catalyst_header                      => 0,

    # HAProxy says how the client came: X-Forwarded-For and X-Forwarded-Proto.
    using_frontend_proxy => 1,
);

__PACKAGE__->setup;

__PACKAGE__->meta->make_immutable( replace_constructor => 1 );

1;
