# Writes the distributions of cpanfile.snapshot as the index of a mirror, which cpanm looks modules up in, into
# the file that its argument names.
use strict;
use warnings;

use Carton::Snapshot;

my ($index) = @ARGV;
my $snapshot = Carton::Snapshot->new( path => 'cpanfile.snapshot' );
$snapshot->load;
open my $file, '>', $index or die "$index: $!\n";
$snapshot->index->write($file);
close $file or die "$index: $!\n";
