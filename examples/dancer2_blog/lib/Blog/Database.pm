package Blog::Database;

# The posts, in PostgreSQL.

use strict;
use warnings;

use DBI ();

use Blog::DatabaseUrl;

# The statements that bring the tables up to date, in order; each can be run again. Both colors run on one database,
# so a release only adds what the release before it can live with.
my @SCHEMA = (
    <<'SQL',
CREATE TABLE IF NOT EXISTS posts (
    id        serial PRIMARY KEY,
    title     text NOT NULL,
    text      text NOT NULL,
    published timestamptz NOT NULL DEFAULT now()
)
SQL
);

# Any number: whoever brings the tables up to date holds PostgreSQL's lock of this number.
my $SCHEMA_LOCK = 20_261_130;

my $FRONT_PAGE = 20;

# The worker's connection: made at its first request, and made again if it is lost.
sub connect {    ## no critic (ProhibitBuiltinHomonyms)
    my ($class) = @_;
    my ( $dsn, $user, $password ) = Blog::DatabaseUrl::parse( $ENV{DATABASE_URL} );
    my $handle = DBI->connect_cached(
        $dsn, $user, $password,
        { RaiseError => 1, PrintError => 0, AutoCommit => 1, AutoInactiveDestroy => 1, pg_enable_utf8 => 1 }
    );
    my $self = bless { handle => $handle }, $class;
    $self->_prepare unless $handle->{private_blog_prepared}++;
    return $self;
}

sub latest {
    my ($self) = @_;
    return $self->{handle}->selectall_arrayref(
        'SELECT *, published::date AS day FROM posts ORDER BY id DESC LIMIT ?',
        { Slice => {} }, $FRONT_PAGE
    );
}

sub post {
    my ( $self, $id ) = @_;
    return $self->{handle}
        ->selectrow_hashref( 'SELECT *, published::date AS day FROM posts WHERE id = ?', undef, $id );
}

# Returns the id of the new post.
sub publish {
    my ( $self, $title, $text ) = @_;
    my ($id) = $self->{handle}
        ->selectrow_array( 'INSERT INTO posts (title, text) VALUES (?, ?) RETURNING id', undef, $title, $text );
    return $id;
}

sub _prepare {
    my ($self) = @_;
    my $handle = $self->{handle};
    $handle->begin_work;
    eval {
        $handle->do('SET LOCAL client_min_messages = warning');
        $handle->do( 'SELECT pg_advisory_xact_lock(?)', undef, $SCHEMA_LOCK );
        $handle->do($_) for @SCHEMA;
        $handle->commit;
        1;
    } or do {
        my $error = $@;
        $handle->rollback;
        $handle->{private_blog_prepared} = 0;
        die $error;
    };
    return;
}

1;
