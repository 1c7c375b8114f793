package Shop::Schema;

use strict;
use warnings;

use parent 'DBIx::Class::Schema';

__PACKAGE__->load_namespaces;

# How to connect to a catalogue that nobody writes to: SQLite then makes no file beside it, not even a lock.
sub read_only {
    my ( $class, $file ) = @_;
    return { dsn => "dbi:SQLite:uri=file:$file?mode=ro&immutable=1", sqlite_unicode => 1, AutoCommit => 1 };
}

1;
