package Shop::Controller::Root;

use Moose;
use namespace::autoclean;

BEGIN { extends 'Catalyst::Controller' }

use Cpanel::JSON::XS ();
use String::CRC32 qw(crc32);

use Shop::Basket;
use Shop::Release;

__PACKAGE__->config( namespace => q{} );

sub auto : Private {
    my ( $self, $c ) = @_;
    my $cookie = $c->request->cookie('basket');
    $c->stash(
        release => $Shop::Release::NAME,
        news    => $Shop::Release::NEWS,
        basket  => Shop::Basket->from_cookie( $cookie && $cookie->value ),
    );
    return 1;
}

sub index : Path Args(0) GET {
    my ( $self, $c ) = @_;
    $c->stash( template => 'index.tt', products => [ $c->model('Catalogue::Product')->by_name->all ] );
    return;
}

sub product : Local Args(1) GET {
    my ( $self, $c, $id ) = @_;
    my $product = $self->_product( $c, $id ) or $c->detach('default');
    $c->stash( template => 'product.tt', product => $product );
    return;
}

sub basket : Local Args(0) GET {
    my ( $self, $c ) = @_;
    my $quantities = $c->stash->{basket}->quantities;
    my @products   = $c->model('Catalogue::Product')->by_name->search( { id => [ keys %{$quantities} ] } );
    my $cents      = 0;
    $cents += $_->cents * $quantities->{ $_->id } for @products;
    $c->stash( template => 'basket.tt', products => \@products, total => sprintf '%.2f', $cents / 100 );
    return;
}

sub add : Path('basket/add') Args(1) POST {
    my ( $self, $c, $id ) = @_;
    my $product = $self->_product( $c, $id ) or $c->detach('default');
    my $basket  = $c->stash->{basket};
    if ( !$basket->add( $product->id ) ) {
        $c->response->status(409);
        $c->response->content_type('text/plain; charset=utf-8');
        $c->response->body("The basket is full.\n");
        return;
    }
    $c->response->cookies->{basket} = {
        value    => $basket->to_cookie,
        httponly => 1,
        samesite => 'Lax',
        secure   => $c->request->secure,
        expires  => '+7d',
    };
    $c->response->redirect( $c->uri_for('/basket'), 303 );
    return;
}

# For other programs. The catalogue is the release's, so its checksum is as good as a date.
sub prices : Path('prices.json') Args(0) GET {
    my ( $self, $c ) = @_;
    my %prices = map { $_->name => $_->price } $c->model('Catalogue::Product')->all;
    $self->_json( $c, 200, \%prices );
    my $tag = sprintf 'W/"%08x"', crc32( $c->response->body );
    $c->response->header( ETag => $tag );
    if ( ( $c->request->header('If-None-Match') // q{} ) eq $tag ) {
        $c->response->status(304);
        $c->response->body(q{});
    }
    return;
}

# A release without its catalogue sells nothing.
sub health : Local Args(0) GET {
    my ( $self, $c ) = @_;
    my $products = eval { $c->model('Catalogue::Product')->count };
    return $self->_json( $c, 200, { status => 'ok', products => $products } ) if $products;
    $c->log->error("the catalogue cannot be read: $@") if $@;
    return $self->_json( $c, 503, { status => 'unhealthy', problem => 'the catalogue is missing, or empty' } );
}

sub version : Local Args(0) GET {
    my ( $self, $c ) = @_;
    return $self->_json( $c, 200, { name => $Shop::Release::NAME, version => $Shop::Release::VERSION } );
}

sub default : Path {
    my ( $self, $c ) = @_;
    $c->response->status(404);
    $c->response->content_type('text/plain; charset=utf-8');
    $c->response->body("There is nothing here.\n");
    return;
}

sub end : ActionClass('RenderView') { }

sub _product {
    my ( $self, $c, $id ) = @_;
    return if $id !~ /\A[1-9][0-9]{0,5}\z/;
    return $c->model('Catalogue::Product')->find($id);
}

sub _json {
    my ( $self, $c, $status, $data ) = @_;
    $c->response->status($status);
    $c->response->content_type('application/json');
    $c->response->body( Cpanel::JSON::XS->new->canonical->utf8->encode($data) . "\n" );
    return;
}

__PACKAGE__->meta->make_immutable;

1;
