package Guestbook::Entries;

# The entries, one a line: time, name and text, with a tab between them.

use strict;
use warnings;

use Fcntl qw(:flock);

my $LONGEST_NAME = 40;
my $LONGEST_TEXT = 500;
my $MOST_SHOWN   = 50;

# A book that is full takes nothing more; somebody has to look at it.
my $LARGEST_FILE = 10_000_000;

# The directory exists: it is not the release's, and outlives it.
sub new {
    my ( $class, $directory ) = @_;
    die "no directory for the entries\n" unless length( $directory // q{} );
    return bless { file => "$directory/entries.tsv" }, $class;
}

# Write an entry. Returns what is wrong with it, or an empty string.
sub add {
    my ( $self, @entry ) = @_;
    my ( $name, $text ) = map {s/\A | \z//gr} map {s/[\s\x00-\x1f]+/ /gr} map { $_ // q{} } @entry;
    return "a name has 1 to $LONGEST_NAME characters" if !length $name || length $name > $LONGEST_NAME;
    return "a text has 1 to $LONGEST_TEXT characters" if !length $text || length $text > $LONGEST_TEXT;

    open my $file, '>>:encoding(UTF-8)', $self->{file} or die "cannot write $self->{file}: $!\n";
    flock $file, LOCK_EX or die "cannot lock $self->{file}: $!\n";
    return 'the book is full' if -s $file > $LARGEST_FILE;
    print {$file} join( "\t", time, $name, $text ), "\n";
    close $file or die "cannot write $self->{file}: $!\n";
    return q{};
}

# The latest ones, the newest first.
sub latest {
    my ($self) = @_;
    return unless -e $self->{file};
    open my $file, '<:encoding(UTF-8)', $self->{file} or die "cannot read $self->{file}: $!\n";
    flock $file, LOCK_SH or die "cannot lock $self->{file}: $!\n";
    my @entries;
    while ( my $line = <$file> ) {
        chomp $line;
        my ( $time, $name, $text ) = split /\t/, $line;
        unshift @entries, { name => $name, text => $text } if defined $text;
        pop @entries if @entries > $MOST_SHOWN;
    }
    close $file;
    return @entries;
}

# Why nothing could be written, or an empty string.
sub problem {
    my ($self) = @_;
    my $file = $self->{file};
    my ($directory) = $file =~ m{\A(.*)/};
    return q{} if -e $file ? -w $file : -w $directory;
    return "$file cannot be written";
}

1;
