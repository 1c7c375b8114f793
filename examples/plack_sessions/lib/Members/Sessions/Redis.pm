package Members::Sessions::Redis;

# Sessions in Redis, which both colors share. JSON rather than Storable: a release reads what another one has written.

use strict;
use warnings;

use parent 'Plack::Session::Store';

use JSON::PP ();
use Redis;

# Seconds that a lost Redis is waited for, and microseconds between two attempts. A request that waits longer fails.
my %PATIENCE = ( reconnect => 2, every => 100_000, cnx_timeout => 1, read_timeout => 2, write_timeout => 2 );

sub new {
    my ( $class, $url, $lasts ) = @_;
    my ( $password, $server ) = $url =~ m{\Aredis://(?::([^@]*)@)?([^/@]+:\d+)/?\z}
        or die "REDIS_URL is missing, or not like redis://:password\@10.0.0.5:6379\n";
    my %options = ( server => $server, %PATIENCE );
    $options{password} = $password if defined $password;
    return bless { options => \%options, lasts => $lasts, json => JSON::PP->new->utf8 }, $class;
}

sub fetch {
    my ( $self, $id ) = @_;
    my $text = $self->redis->get("session:$id") // return;
    return $self->{json}->decode($text);
}

sub store {
    my ( $self, $id, $session ) = @_;
    # Health checks, crawlers and a deploy's own requests would leave thousands behind.
    return if !%{$session};
    $self->redis->setex( "session:$id", $self->{lasts}, $self->{json}->encode($session) );
    return;
}

sub remove {
    my ( $self, $id ) = @_;
    $self->redis->del("session:$id");
    return;
}

# Each worker has a connection of its own: one that was opened before the fork would be shared.
sub redis {
    my ($self) = @_;
    if ( ( $self->{of} // 0 ) != $$ ) {
        $self->{redis} = Redis->new( %{ $self->{options} } );
        $self->{of}    = $$;
    }
    return $self->{redis};
}

1;
