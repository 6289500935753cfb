#!/bin/sh
# Passwords drawn at random, and certificates for database and broker signed by an authority of their own, in a folder.
#
#   sh secrets.sh FOLDER [DATABASE_HOST [BROKER_HOST]]
#
# The file's name is the variable's where it becomes one. What is there already stays: delete a file to renew it, and
# broker.conf with USAGE_PIPELINE_BROKER.
set -eu
umask 077
folder=$1 database=${2:-database} broker=${3:-broker}
mkdir -p "$folder"
cd "$folder"

random() { openssl rand -hex 32; }

# name and address of a host as a certificate has them
names() { case $1 in *[!0-9.]*) echo "DNS:$1" ;; *) echo "IP:$1" ;; esac; }

certificate() { # FILE HOST
    [ -e "$1.crt" ] && return
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr" 2>&1
    printf 'subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\n' "$(names "$2")" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile "$1.ext" -out "$1.crt" 2>&1
    rm "$1.csr" "$1.ext"
} >>openssl.log

[ -e ca.crt ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=usage-pipeline' \
    -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout ca.key -out ca.crt 2>>openssl.log
certificate database "$database"
certificate broker "$broker"

[ -e USAGE_PIPELINE_DATABASE_PASSWORD ] || printf '%s' "$(random)" >USAGE_PIPELINE_DATABASE_PASSWORD
if [ ! -e USAGE_PIPELINE_BROKER ]; then
    password=$(random)
    printf 'requirepass %s\n' "$password" >broker.conf
    printf 'rediss://:%s@%s:6379/0?ssl_cert_reqs=required&ssl_ca_certs=%s' "$password" "$broker" \
        "${CA:-/run/secrets/ca.crt}" >USAGE_PIPELINE_BROKER
fi
