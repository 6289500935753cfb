#!/bin/sh
# Secrets are files, as compose mounts them: those that are named like a variable become one, for this process alone.
set -eu
for file in "${SECRETS:-/run/secrets}"/*; do
    name=${file##*/}
    case $name in
    [A-Z]*) case $name in *[!A-Z0-9_]*) ;; *) export "$name=$(cat "$file")" ;; esac ;;
    esac
done
exec "$@"
