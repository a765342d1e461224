#!/usr/bin/env bash
# Runs every fuzz target of every module for FUZZTIME (30s), one after the
# other. MODULE=untar limits it to one module.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off
for mod in $(sed -n 's|^[[:space:]]*\./||p' go.work); do
	[ -z "${MODULE:-}" ] || [ "$MODULE" = "$mod" ] || continue
	while IFS=: read -r file func; do
		dir=$(dirname "$file")
		echo "==> $dir $func"
		(cd "$dir" && go test -run '^$' -fuzz "^$func\$" -fuzztime "${FUZZTIME:-30s}" .)
	done < <(grep -rhoHE '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' "$mod" | sed 's/:func /:/' | grep -v "$(printf '%s/[^:]*/go.mod' "$mod")" | sort -u)
done
