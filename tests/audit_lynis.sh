#!/bin/sh
# Run by tests/audit_host.py as root on a test host, in a mount namespace of its own: prints the report of lynis.
set -eu
command -v lynis >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends lynis >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A container has the kernel of its machine, whose settings are nobody's affair here. There, lynis reads the values
# that sapflux-kernel.service sets on a server, from the same file.
if systemd-detect-virt --container --quiet; then
    sed -n 's/^-\{0,1\}\([a-z][^ ]*\) = \(.*\)$/\1 \2/p' /etc/sapflux/sysctl-kernel.conf |
        while read -r key value; do
            path=/proc/sys/$(echo "$key" | tr . /)
            if [ -e "$path" ]; then
                echo "$value" >"$work/$key"
                mount --bind "$work/$key" "$path"
            fi
        done
fi
# Its exit code tells of warnings, which are in the report.
lynis audit system --quick --quiet --no-colors --logfile "$work/log" --report-file "$work/report" >/dev/null || true
cat "$work/report"
