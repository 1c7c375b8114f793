# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are shared with deploy_release.sh
# Part of deploy_release.sh: a release is built here, and what others have made is inspected before it is root's.

build() {
    say "building $revision"
    partial=$(mktemp -d "$release.partial.XXXXXX")
    tree=$partial/tree dependencies=$partial/dependencies
    chmod 711 "$partial"
    export_source
    find_dependencies
    take_over
    load "$tree"
    keep_dependencies
    sync -f "$partial"
    mv -T "$tree" "$release"
    rm -rf "$partial"
}

# Nothing of the repository runs here: the build user has only unpacked it.
export_source() {
    install -d -m 755 -o "$build_user" "$tree"
    attempt "cannot export $revision" export_files
}

export_files() {
    as_fetcher git -C "$mirror" archive --format=tar "$revision" |
        run_caged export "$build_user" "ReadWritePaths=$tree" -- tar -x -C "$tree"
}

find_dependencies() {
    made_from=(cpanfile cpanfile.snapshot vendor/cache)
    listed=$(list_files "${made_from[@]}" .gitattributes)
    cached=
    if ! is_there cpanfile; then
        say "there is no cpanfile, so no dependencies are installed"
        return
    fi
    if ! is_there cpanfile.snapshot; then
        ! is_listed cpanfile.snapshot ||
            die "cpanfile.snapshot is committed, but .gitattributes keeps it out of a release (export-ignore):" \
                "remove that attribute, and commit"
        die "cpanfile.snapshot is missing in the repository: run carton install, and commit it"
    fi
    is_there vendor/cache || unset 'made_from[2]'
    if list_files "${made_from[@]}" vendor | grep -q '^120000 '; then
        # A link may lead to any file.
        made_from=(.)
        listed=$(list_files .)
    fi
    cached=$root/cache/$(key_of_dependencies)
    if [ -d "$cached" ]; then
        say "dependencies are unchanged"
        touch "$cached"
    else
        say "installing dependencies"
        install_dependencies
    fi
}

# list_files PATH…: those that are committed, with what git calls their contents.
list_files() {
    as_fetcher git -C "$mirror" ls-tree "$revision" -- "$@"
}

# What is committed may be left out of a release by .gitattributes.
is_there() {
    [ -e "$tree/$1" ] || [ -L "$tree/$1" ]
}

is_listed() {
    [[ $listed$'\n' == *$'\t'"$1"$'\n'* ]]
}

# A cpanfile is a program, so it finds nothing but what the key names: another revision with the same key would get
# the same. Modules written in C fit one perl, one architecture and one C library.
key_of_dependencies() {
    {
        perl -MConfig -e 'print "$Config{version} $Config{archname}\n"'
        getconf GNU_LIBC_VERSION
        printf '%s\n' "$listed"
    } | sha256sum | cut -c1-40
}

install_dependencies() {
    local options=--deployment
    install -d -m 755 -o "$build_user" "$dependencies"
    attempt "cannot copy what the dependencies are made from" run_caged copy "$build_user" \
        "ReadWritePaths=$dependencies" "WorkingDirectory=$tree" -- \
        cp -a --parents "${made_from[@]}" "$dependencies"
    [ ! -d "$dependencies/vendor/cache" ] || options+=' --cached'
    attempt "cannot install the dependencies" run_caged build "$build_user" \
        "ReadWritePaths=$dependencies" "WorkingDirectory=$dependencies" LogLevelMax=notice \
        Environment=LC_ALL=C.UTF-8 "Environment=HOME=$dependencies/.home" \
        "Environment=PERL_CPANM_HOME=$dependencies/.cpanm" -- bash -c "
        rm -rf local && mkdir .home
        carton install $options || { tail -n 30 .cpanm/work/*/build.log; exit 1; }"
    # Carton's exit status is 0 all the same.
    if grep -q -E "^! (Failed to fetch|Couldn't find|Installing)" "$log"; then
        die "cannot install the dependencies: $(cause)"
    fi
}

# From here on the release belongs to root: neither who built it nor who runs it can change it. Who built it is gone,
# and what root writes is moved in, not written where others have been.
take_over() {
    local own
    chmod 700 "$partial"
    own=$(mktemp -d "$partial/own.XXXXXX")
    rm -rf "$tree/.bluegreen" "$tree/REVISION"
    [ -z "$cached" ] || rm -rf "$tree/local"
    make_root_s "$tree"
    [ -z "$cached" ] || add_dependencies
    mkdir "$own/.bluegreen"
    install -m 644 "$here/revision.psgi" "$own/.bluegreen/revision.psgi"
    write_start_script "$own"
    printf '%s\n' "$revision" >"$own/REVISION"
    mv -T "$own/.bluegreen" "$tree/.bluegreen"
    mv -T "$own/REVISION" "$tree/REVISION"
    chmod 711 "$partial"
}

# Releases with the same dependencies share them by hard links, between files that are root's already.
add_dependencies() {
    if [ -d "$cached" ]; then
        attempt "cannot copy the dependencies" cp -al "$cached" "$tree/local"
    elif [ -e "$dependencies/local" ] || [ -L "$dependencies/local" ]; then
        make_root_s "$dependencies/local"
        mv -T "$dependencies/local" "$tree/local"
    fi
}

make_root_s() {
    if [ -L "$1" ] || [ ! -d "$1" ]; then
        die "the release is refused: ${1##*/} is no directory"
    fi
    attempt "the release is refused" perl "$here/inspect.pl" "$1"
    chown -hR root:root "$1"
    chmod -R u+rwX,go+rX,go-w "$1"
}

# Only what has been loaded once is for others, too.
keep_dependencies() {
    local fresh
    if [ -z "$cached" ] || [ -d "$cached" ] || [ ! -d "$tree/local" ]; then
        return
    fi
    fresh=$(mktemp -d "$cached.partial.XXXXXX")
    attempt "cannot keep the dependencies" cp -al "$tree/local/." "$fresh"
    chmod 755 "$fresh"
    mv -T "$fresh" "$cached"
}
