#!/bin/sh
# Two steps of the image build: `sources` adds the security and update suites of the mirror this image came from,
# `download` fetches (and does not install) the packages that the roles install.
set -eu
case "$1" in
sources)
    mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p; s/^URIs: *//p' /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
    rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*.sources
    cat >/etc/apt/sources.list.d/debian.sources <<SOURCES
Types: deb
URIs: $mirror
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: ${mirror}-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    # Keep what is downloaded: minimal images throw it away.
    rm -f /etc/apt/apt.conf.d/docker-clean
    echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";' >/etc/apt/apt.conf.d/99keep-downloads
    ;;
download)
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --download-only \
        postgresql-17 postgresql-17-postgis-3 postgresql-17-postgis-3-scripts python3-psycopg2 \
        docker.io docker-cli docker-compose iptables nftables \
        unattended-upgrades needrestart systemd-timesyncd apparmor procps zstd \
        kmod libpam-passwdqc systemd-zram-generator lynis
    ;;
esac
