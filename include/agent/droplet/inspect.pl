# Inspects a directory that another user has filled: names what root must not take over, and exits 1.
# Nobody may write there meanwhile.
use strict;
use warnings;

use Fcntl qw(S_IMODE S_ISDIR S_ISLNK S_ISREG);

my ($top) = @ARGV;
my %names;
my %first;

sub refuse {
    my ( $path, $why ) = @_;
    $path =~ s/[^ -~]/?/g;
    $why  =~ s/[^ -~]/?/g;
    print "$path $why\n";
    exit 1;
}

# Where a link leads, without one that leads out.
sub follow {
    my ( $path, @there ) = @_;
    my @ahead = pop @there;
    my $links = 0;
    while (@ahead) {
        my $name = shift @ahead;
        next if $name eq '' or $name eq '.';
        if ( $name eq '..' ) {
            refuse( $path, 'is a link out of it, to ' . readlink "$top/$path" ) if !@there;
            pop @there;
            next;
        }
        my $target = readlink join '/', $top, @there, $name;
        if ( !defined $target ) {
            push @there, $name;
            next;
        }
        refuse( $path, "is a link out of it, to $target" ) if $target =~ m{^/};
        refuse( $path, 'is a link that leads round in circles' ) if ++$links > 40;
        unshift @ahead, split m{/}, $target;
    }
    return;
}

my @directories = ('');
while (@directories) {
    my $directory = pop @directories;
    opendir my $handle, "$top/$directory" or refuse( $directory, "cannot be read: $!" );
    for my $name ( sort readdir $handle ) {
        next if $name eq '.' or $name eq '..';
        my $path = $directory eq '' ? $name : "$directory/$name";
        my ( $device, $inode, $mode, $count ) = lstat "$top/$path" or refuse( $path, "cannot be read: $!" );
        if ( S_ISDIR($mode) ) {
            push @directories, $path;
        }
        elsif ( S_ISLNK($mode) ) {
            follow( $path, split m{/}, $path );
            next;
        }
        elsif ( !S_ISREG($mode) ) {
            refuse( $path, 'is a device, a pipe or a socket' );
        }
        elsif ( $count > 1 ) {
            $first{$inode} //= [ $path, $count ];
            $names{$inode}++;
        }
        refuse( $path, 'has a set-user-id or set-group-id bit' ) if S_IMODE($mode) & 06000;
    }
    closedir $handle;
}

for my $inode ( sort keys %first ) {
    my ( $path, $count ) = @{ $first{$inode} };
    refuse( $path, 'is a hard link, and its other name is elsewhere' ) if $names{$inode} < $count;
}
