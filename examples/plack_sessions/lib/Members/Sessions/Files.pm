package Members::Sessions::Files;

# Sessions in files of one droplet. No other droplet has them, and so no switch takes them along.

use strict;
use warnings;

use parent 'Plack::Session::Store';

use JSON::PP ();

sub new {
    my ( $class, $lasts ) = @_;
    # systemd names the app's own directory, /var/lib/app-<app>.
    my $home = $ENV{STATE_DIRECTORY} or die "STATE_DIRECTORY is missing\n";
    return bless { directory => "$home/sessions", lasts => $lasts, json => JSON::PP->new->utf8 }, $class;
}

sub fetch {
    my ( $self, $id ) = @_;
    my $path = $self->path($id);
    return if !-f $path || time - ( stat _ )[9] > $self->{lasts};
    open my $file, '<', $path or return;
    local $/ = undef;
    my $text = <$file>;
    close $file or return;
    return $self->{json}->decode($text);
}

sub store {
    my ( $self, $id, $session ) = @_;
    return if !%{$session};
    # Not while the app is loaded: a dry run loads it where nothing can be written.
    mkdir $self->{directory}, oct 700;
    my $new = $self->path("$id.$$");
    open my $file, '>', $new or die "cannot write $new: $!\n";
    print {$file} $self->{json}->encode($session) or die "cannot write $new: $!\n";
    close $file or die "cannot write $new: $!\n";
    rename $new, $self->path($id) or die "cannot rename $new: $!\n";
    return;
}

sub remove {
    my ( $self, $id ) = @_;
    unlink $self->path($id);
    return;
}

# Plack has checked that an id consists of 40 hexadecimal digits.
sub path {
    my ( $self, $id ) = @_;
    return "$self->{directory}/$id";
}

1;
