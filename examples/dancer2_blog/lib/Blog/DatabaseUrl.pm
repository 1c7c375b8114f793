package Blog::DatabaseUrl;

# What DATABASE_URL means, the way hosters write it: postgres://user:password@host:port/database.

use strict;
use warnings;

use URI::Escape qw(uri_unescape);

# Returns DBI's data source, user and password. An error never has the URL, because that has the password.
sub parse {
    my ($url) = @_;
    die "DATABASE_URL is not set\n" unless length( $url // q{} );
    my ( $user, $password, $host, $port, $database ) = $url =~ m{
        \A postgres (?:ql)? ://
        (?: ([^:/?\#@]*) (?: : ([^/?\#@]*) )? @ )?
        ( [A-Za-z0-9.-]+ ) (?: : ([0-9]+) )?
        / ( [^/?\#;]+ ) \z
    }x or die "DATABASE_URL is not postgres://user:password\@host:port/database\n";
    my $dsn = 'dbi:Pg:host=' . $host . ';port=' . ( $port // 5432 ) . ';dbname=' . uri_unescape($database);
    return ( $dsn, map { defined ? uri_unescape($_) : undef } $user, $password );
}

1;
