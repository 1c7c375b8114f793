#!/usr/bin/perl
# Prints which modules unpacked distributions have, as JSON: {directory: {module: version, or null}}.
# A package counts only in the file that is called like it: others are a distribution's own matter.
# Usage: provides.pl DIRECTORY...
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
            my $expected = join('/', split /::/, $package) . '.pm';
            next if "/$path" !~ m{/\Q$expected\E\z};
            my $version = $metadata->version($package);
            $found{$directory}{$package} = defined $version ? $version->stringify : undef;
        }
    };
    find({ wanted => $look, no_chdir => 1 }, $directory);
}
print JSON::PP->new->canonical->utf8->encode(\%found);
