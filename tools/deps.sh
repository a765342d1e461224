#!/usr/bin/env bash
# Installs what the tests need beside Go where it can, and says what it could
# not. With CI set, a missing program is an error.
set -u
missing=()
need() { # program, Debian package
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2")
}
need git git
need gcc gcc
need sshd openssh-server
need ssh-keygen openssh-client
need gpg gnupg
need bash bash
need git-lfs git-lfs
need curl curl
[ -x "$(git --exec-path 2>/dev/null)/git-http-backend" ] || missing+=(git)
if [ -f "$(dirname "$0")/../git/libgit2/go.mod" ]; then
	pkg-config --exists libgit2 2>/dev/null || missing+=(libgit2-dev pkg-config)
fi
[ ${#missing[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null 2>&1; then
	sudo=
	[ "$(id -u)" -eq 0 ] || sudo="sudo -n"
	echo "installing ${missing[*]}" >&2
	{ $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null && exit 0
fi
echo "could not install: ${missing[*]}; tests that need them skip" >&2
[ -z "${CI:-}" ]
