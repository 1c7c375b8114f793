package Blog;

use Dancer2;

use Blog::Database;
use Blog::Release;

our $VERSION = $Blog::Release::VERSION;

my $LONGEST_TITLE = 200;
my $LONGEST_TEXT  = 50_000;

hook before_template_render => sub {
    my ($tokens) = @_;
    $tokens->{release} = $Blog::Release::NAME;
    $tokens->{news}    = $Blog::Release::NEWS;
};

get '/' => sub {
    template index => { posts => Blog::Database->connect->latest };
};

get '/posts/:id' => sub {
    my $id   = route_parameters->get('id');
    my $post = $id =~ /\A[1-9][0-9]{0,8}\z/ ? Blog::Database->connect->post($id) : undef;
    send_error 'There is no such post.', 404 unless $post;
    template post => { post => $post };
};

# Published by a program that has the token: curl -H 'Authorization: Bearer …' -d title=… -d text=…
post '/posts' => sub {
    my $token = $ENV{BLOG_TOKEN} || send_error 'Nobody may publish: BLOG_TOKEN is not set.', 403;
    my ($given) = ( request->header('Authorization') // q{} ) =~ /\ABearer (\S+)\z/;
    send_error 'The token is wrong.', 403 unless same( $token, $given // q{} );

    my ( $title, $text ) = map { body_parameters->get($_) // q{} } qw(title text);
    send_error "A title has 1 to $LONGEST_TITLE characters.", 400
        if $title !~ /\S/ || length $title > $LONGEST_TITLE;
    send_error "A text has 1 to $LONGEST_TEXT characters.", 400 if $text !~ /\S/ || length $text > $LONGEST_TEXT;
    my $id = Blog::Database->connect->publish( $title, $text );
    status 201;
    response_header Location => "/posts/$id";
    send_as JSON => { id => $id };
};

# What one droplet alone can break. The database is not: when it fails, HAProxy must not take all droplets out of
# the traffic at once. A deploy sees by the front page that a release can use it (validation.paths).
get '/health' => sub {
    send_as JSON => { status => 'ok' };
};

get '/version' => sub {
    send_as JSON => { name => $Blog::Release::NAME, version => $Blog::Release::VERSION };
};

# Compares in a time that does not tell how much of the token was right.
sub same {
    my ( $expected, $given ) = @_;
    return if length $expected != length $given;
    my $difference = 0;
    $difference |= ord( substr $expected, $_, 1 ) ^ ord( substr $given, $_, 1 ) for 0 .. length($expected) - 1;
    return $difference == 0;
}

1;
