# Writes a cpanfile with the dependencies that META.json or META.yml names. Its arguments are that file, and the
# features that count.
use strict;
use warnings;

use CPAN::Meta;
use Module::CPANfile;

my ( $meta, @features ) = @ARGV;
my $prereqs = CPAN::Meta->load_file($meta)->effective_prereqs( \@features );
Module::CPANfile->from_prereqs( $prereqs->as_string_hash )->save('cpanfile');
