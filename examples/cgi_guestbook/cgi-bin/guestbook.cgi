#!/usr/bin/perl
# A guest book, as they were written in 1999, and as they still run: one script, one file of entries.
use strict;
use warnings;

use CGI qw(escapeHTML);
use Encode qw(encode_utf8);
use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/../lib';

use Guestbook::Entries;
use Guestbook::Release;

# Not `use CGI qw(-utf8)`: under PSGI CGI.pm goes back to its defaults before each request.
$CGI::PARAM_UTF8      = 1;
$CGI::POST_MAX        = 64 * 1024;
$CGI::DISABLE_UPLOADS = 1;

my $cgi     = CGI->new;
my $entries = Guestbook::Entries->new( $ENV{GUESTBOOK_DIRECTORY} );
my $error   = q{};

if ( $cgi->request_method eq 'POST' ) {
    $error = $cgi->cgi_error ? 'that was too much' : $entries->add( map { scalar $cgi->param($_) } qw(name text) );
    if ( !$error ) {
        print $cgi->redirect( -uri => $cgi->script_name || q{/}, -status => 303 );
        exit;
    }
}

print $cgi->header( -type => 'text/html', -charset => 'utf-8', -status => $error ? 400 : 200 );
my $notice = $error ? '<p class="error">' . escapeHTML("Not written: $error.") . '</p>' : q{};
my $list   = join "\n",
    map { '<dt>' . escapeHTML( $_->{name} ) . '</dt><dd>' . escapeHTML( $_->{text} ) . '</dd>' } $entries->latest;
print encode_utf8(<<"HTML");
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Guest book $Guestbook::Release::NAME</title></head>
<body>
<h1>Guest book</h1>
<p>Release $Guestbook::Release::NAME. $Guestbook::Release::NEWS</p>
$notice
<form method="post">
<input name="name" maxlength="40" required> <input name="text" maxlength="500" required> <button>Write</button>
</form>
<dl>
$list
</dl>
</body>
</html>
HTML
