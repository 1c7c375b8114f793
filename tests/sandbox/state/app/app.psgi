# An app that keeps its state in PostgreSQL and Redis. What it asks of its database stands in queries/.

use strict;
use warnings;

use DBI      ();
use FindBin  ();
use JSON::PP ();
use Redis    ();

my $HOME = $FindBin::Bin;

sub content_of {
    my ($path) = @_;
    open my $file, '<', "$HOME/$path" or die "cannot read $path: $!\n";
    local $/ = undef;
    my $content = <$file>;
    close $file or die "cannot read $path: $!\n";
    return $content =~ s/\n\z//r;
}

my $RELEASE = content_of('RELEASE');

# By path: a statement, and whether it has rows to show.
my %QUERIES = (
    '/'      => [ content_of('queries/read.sql'),  1 ],
    '/visit' => [ content_of('queries/write.sql'), 0 ],
);

# The worker's own connection, by the PG* variables of its environment; made again if it is lost.
sub database {
    my %options = ( RaiseError => 1, PrintError => 0, AutoCommit => 1, AutoInactiveDestroy => 1 );
    return DBI->connect_cached( 'dbi:Pg:', undef, undef, \%options );
}

# The worker's own connection to Redis, likewise.
sub sessions {
    our %connections;
    return $connections{$$} //= do {
        my ( $password, $server ) = $ENV{REDIS_URL} =~ m{\Aredis://:(.+)@(.+)\z}
            or die "REDIS_URL: no address\n";
        Redis->new( server => $server, password => $password, reconnect => 2 );
    };
}

# Begins a session that counts its visits.
sub login {
    my $id = unpack 'H*', join q{}, map { chr int rand 256 } 1 .. 16;
    sessions()->set( "session:$id", 0 );
    my $answer = json( 200, { release => $RELEASE, visits => 0 } );
    push @{ $answer->[1] }, 'Set-Cookie' => "session=$id; HttpOnly";
    return $answer;
}

sub visit {
    my ($env) = @_;
    my ($id) = ( $env->{HTTP_COOKIE} // q{} ) =~ /\bsession=([0-9a-f]{32})\b/;
    return json( 401, { error => 'not logged in' } ) if !$id || !sessions()->exists("session:$id");
    return json( 200, { release => $RELEASE, visits => 0 + sessions()->incr("session:$id") } );
}

sub json {
    my ( $status, $data ) = @_;
    my $body = JSON::PP->new->canonical->utf8->encode($data) . "\n";
    return [ $status, [ 'Content-Type' => 'application/json' ], [$body] ];
}

sub answer {
    my ($env) = @_;
    my $path = $env->{PATH_INFO};
    return login()     if $path eq '/login';
    return visit($env) if $path eq '/session';
    return json( 200, { status => 'ok', answer => database()->selectrow_array('SELECT 1') } )
        if $path eq '/health';
    return json( 200, { release => $RELEASE } ) if $path eq '/version';
    my $query = $QUERIES{$path} or return json( 404, { error => 'there is nothing here' } );
    my ( $statement, $shows ) = @{$query};
    my $rows = $shows ? database()->selectall_arrayref($statement) : database()->do($statement);
    return json( 200, { release => $RELEASE, rows => $rows } );
}

sub {
    my ($env) = @_;
    my $answer = eval { answer($env) };
    return $answer if $answer;
    warn "$env->{PATH_INFO}: $@";
    return json( 500, { error => 'it is in the log' } );
};
