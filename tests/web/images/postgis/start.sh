#!/bin/sh
# Make the cluster of POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB where there is none, then serve it.
set -eu
PATH=/usr/lib/postgresql/17/bin:$PATH
export PGDATA=/tmp/data PGHOST=/tmp PGUSER="$POSTGRES_USER"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl start --silent --wait --options="-c listen_addresses='' -c unix_socket_directories=/tmp" >/dev/null
    createdb "$POSTGRES_DB"
    psql --quiet --dbname="$POSTGRES_DB" --command='CREATE EXTENSION postgis'
    pg_ctl stop --silent --wait --mode=fast
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off
