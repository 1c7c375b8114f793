#!/usr/bin/perl
# Prints which modules unpacked distributions have, as JSON: {directory: {module: version, or null}}.
# A package counts only in the file that is called like it: others are a distribution's own matter. Old
# distributions have the file of A::B as B.pm at their top.
# Usage: provides.pl DIRECTORY...   (each holds the one directory of a distribution)
use strict;
use warnings;

use File::Find;
use JSON::PP;
use Module::Metadata;

my $private = qr{/(?:t|xt|inc|eg|examples?|local|share|corpus|author|maint|benchmarks?)/};

my %found;
for my $directory (@ARGV) {
    $found{$directory} = {};
    my $look = sub {
        my $path = substr $File::Find::name, length $directory;
        return if $path !~ /\.pm\z/ || $path =~ $private;
        my $metadata = Module::Metadata->new_from_file($File::Find::name) or return;
        for my $package ($metadata->packages_inside) {
            my @parts = split /::/, $package;
            my $expected = join('/', @parts) . '.pm';
            next if $path !~ m{/\Q$expected\E\z} && $path !~ m{^/[^/]+/\Q$parts[-1]\E\.pm\z};
            my $version = $metadata->version($package);
            $found{$directory}{$package} = defined $version ? $version->stringify : undef;
        }
    };
    find({ wanted => $look, no_chdir => 1 }, $directory);
}
print JSON::PP->new->canonical->utf8->encode(\%found);
