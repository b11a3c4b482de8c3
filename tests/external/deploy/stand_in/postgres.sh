#!/bin/sh
# PostgreSQL as the official image starts it: the volume made the user's, the database made at the first start.
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
data=/var/lib/postgresql/data

as_postgres() {
    setpriv --reuid postgres --regid postgres --clear-groups "$@"
}

if [ ! -s "$data/PG_VERSION" ]; then
    chown postgres "$data"
    chmod 700 "$data"
    echo "$POSTGRES_PASSWORD" > /tmp/password
    chmod 644 /tmp/password
    as_postgres initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile /tmp/password \
        --auth-local trust --auth-host scram-sha-256 > /tmp/log
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
fi
install -d -o postgres /run/postgresql
exec setpriv --reuid postgres --regid postgres --clear-groups postgres -D "$data" -c 'listen_addresses=*'
