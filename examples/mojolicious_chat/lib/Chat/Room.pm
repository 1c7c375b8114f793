package Chat::Room;

# A room's messages, in a file: what one worker process appends, all workers of the droplet pass on.

use Mojo::Base 'Mojo::EventEmitter', -signatures;

use Fcntl qw(:flock SEEK_END SEEK_SET);
use Mojo::IOLoop;
use Mojo::JSON qw(decode_json encode_json);

# A Mojo::File.
has 'file';

# How often other workers' messages are looked for, in seconds.
my $INTERVAL = 0.2;

# Bytes of the file, from which on it begins anew.
my $LARGEST_FILE = 1_048_576;

my $LONGEST_TEXT = 1000;
my $LONGEST_NAME = 40;
my $MOST_RECENT  = 20;

# The worker's first listener starts the timer: a timer that is made before the server forks is everybody's.
sub on ( $self, @arguments ) {
    $self->_watch unless $self->{timer};
    return $self->SUPER::on(@arguments);
}

# Append a message. Returns what is wrong with it, or nothing.
sub say ( $self, $release, $message ) {
    return 'a message is an object with "name" and "text"' unless ref $message eq 'HASH';
    my ( $name, $text ) = map { _line( $message->{$_} ) } qw(name text);
    return "a name has 1 to $LONGEST_NAME characters" unless length $name && length $name <= $LONGEST_NAME;
    return "a text has 1 to $LONGEST_TEXT characters" unless length $text && length $text <= $LONGEST_TEXT;

    $self->_append( { type => 'message', name => $name, text => $text, release => $release } );
    $self->_pass_on if $self->{timer};
    return;
}

sub last_messages ($self) {
    return [] unless -e $self->file;
    my @lines = split /\n/, $self->file->slurp;
    splice @lines, 0, -$MOST_RECENT if @lines > $MOST_RECENT;
    return [ map { _decoded($_) } @lines ];
}

# Why messages cannot be kept, or nothing.
sub problem ($self) {
    my $file = $self->file;
    return if -e $file ? -w $file : -w $file->dirname;
    return "$file cannot be written";
}

sub _append ( $self, $message ) {
    my $handle = $self->file->open('>>');
    flock $handle, LOCK_EX or die 'cannot lock ' . $self->file . ": $!\n";
    seek $handle, 0, SEEK_END;
    truncate $handle, 0 if tell($handle) >= $LARGEST_FILE;
    my $line = encode_json($message) . "\n";

    # One write: a reader never sees a line in two halves, except on a full disk.
    my $written = syswrite $handle, $line;
    die 'cannot write to ' . $self->file . ": $!\n" unless defined $written && $written == length $line;
    return;
}

sub _watch ($self) {
    $self->{position} = -e $self->file ? -s _ : 0;
    $self->{timer}    = Mojo::IOLoop->recurring( $INTERVAL => sub { $self->_pass_on } );
    return;
}

sub _pass_on ($self) {
    my $size = -e $self->file ? -s _ : 0;
    $self->{position} = 0 if $size < $self->{position};
    return if $size == $self->{position};
    my $handle = $self->file->open('<');
    seek $handle, $self->{position}, SEEK_SET;
    while ( my $line = <$handle> ) {
        last if $line !~ /\n\z/;
        $self->{position} += length $line;
        $self->emit( message => $_ ) for _decoded($line);
    }
    return;
}

# What is not JSON is half a line, left by a disk that was full.
sub _decoded ($line) {
    my $message = eval { decode_json($line) };
    return ref $message eq 'HASH' ? $message : ();
}

sub _line ($text) {
    return q{} if !defined $text || ref $text;
    return $text =~ s/\s+/ /gr =~ s/\A | \z//gr;
}

1;
