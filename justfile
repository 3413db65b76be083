# Every recipe is one line; what they call lives in playbooks and Python. Run them through ./justw.
set shell := ["sh", "-euc"]

# list the recipes
_default:
    @just --list --unsorted

# a throwaway production on this machine, from nothing
demo:
    @python -m tests.demo up

# remove every trace of the demo
demo-down *args:
    @python -m tests.demo down {{ args }}

# everything CI runs on every change
test *args:
    @python -m tests.gate test {{ args }}

# the nightly tier: full fault matrices
soak *args:
    @python -m tests.gate soak {{ args }}

# make sure this machine has all that the others need (Docker included)
setup:
    @python -m tests.bed engine

# ansible-lint, ruff, mypy, yamllint, shellcheck
lint:
    @python -m tests.gate lint

# unit tests of plugins, doubles and tools
unit *args:
    @pytest tests/unit {{ args }}

# what ansible-test says of the collection as it ships
sanity:
    @python -m tests.sanity

# one role's scenario (or all): just molecule postgres
molecule *scenario:
    @python -m tests.gate molecule {{ scenario }}

# end-to-end tests of the whole document on real hosts
site *args:
    @pytest tests/site {{ args }}

# build the pinned programs (caddy, minio, tailscale, doppler and their like)
artifacts *args:
    @python -m tests.bed.artifacts {{ args }}

# build the reference application's image
images:
    @python -m tests.bed.images

# converge an inventory: just converge -i inventory/production
converge *args:
    @ansible-playbook site.yml {{ args }}

# deploy the services of the document
deploy *args:
    @ansible-playbook playbooks/deploy.yml {{ args }}

# an earlier release takes the place of the one that serves: just rollback, just rollback sha256:1f2e
rollback to="previous" *args:
    @ansible-playbook playbooks/rollback.yml -e rollback_to={{ to }} {{ args }}

# what serves, since when, and what can be gone back to
releases *args:
    @ansible-playbook playbooks/release_status.yml {{ args }}

# the last lines that the services wrote, without secrets: just logs, just logs api
logs service="" *args:
    @ansible-playbook playbooks/logs.yml -e logs_service={{ service }} {{ args }}

# every service answers 503 until it is off again: just maintenance on
maintenance state *args:
    @ansible-playbook playbooks/maintenance.yml -e maintenance={{ state }} {{ args }}

# nobody deploys until it is off again: just deploy-lock on -e lock_reason='counting rows'
deploy-lock state *args:
    @ansible-playbook playbooks/lock.yml -e lock_state={{ state }} {{ args }}

# changed secrets into what serves, and nothing else
rotate *args:
    @ansible-playbook playbooks/rotate.yml {{ args }}

# one screen of all the stack knows; fails when a person is needed (-e status_json=file)
status *args:
    @ansible-playbook playbooks/status.yml {{ args }}

# what every host really does: pass, fail, and an exit code (-e audit_format=short, -e audit_json=file)
audit *args:
    @ansible-playbook playbooks/audit.yml {{ args }}

# make the servers, networks and firewalls of the document at Hetzner
provision *args:
    @ansible-playbook playbooks/provision.yml {{ args }}

# make the records, settings, rules, buckets and tokens of the document at Cloudflare
clouds *args:
    @ansible-playbook playbooks/clouds.yml {{ args }}

# what differs at Hetzner, and how to apply it
drift *args:
    @ansible-playbook playbooks/drift.yml {{ args }}

# close SSH to the outside, proving every step
lockdown *args:
    @ansible-playbook playbooks/lockdown.yml {{ args }}

# open SSH to the outside for some minutes: just break-glass -e '{"break_glass_cidrs": ["203.0.113.7/32"]}'
break-glass *args:
    @ansible-playbook playbooks/break_glass.yml {{ args }}

# ask Cloudflare for its networks, and keep a changed list beside the inventory
refresh-networks *args:
    @ansible-playbook playbooks/refresh_networks.yml {{ args }}

# ssh-audit and lynis against a converged test host
audit-host host="demo-tailnet":
    @python -m tests.audit_host {{ host }}

# make a check for every timer, and have each tell how its job fares
monitoring *args:
    @ansible-playbook playbooks/monitoring.yml {{ args }}

# a base backup now
backup *args:
    @ansible-playbook playbooks/backup.yml {{ args }}

# a moment of the database, restored beside the live data: just restore 2026-11-20T14:00:00Z
restore target="latest" *args:
    @ansible-playbook playbooks/restore.yml -e restore_target={{ target }} {{ args }}

# from which second to which the database can be restored
db-window *args:
    @ansible-playbook playbooks/window.yml {{ args }}

# prove now that the archive comes back
drill *args:
    @ansible-playbook playbooks/drill.yml {{ args }}

# an SSH prompt on a host of the demo
ssh host="demo-tailnet":
    @ssh -F .bed/ssh_config -l ops {{ host }}

# a psql prompt on the demo's database
psql database="app" host="demo-tailnet":
    @ssh -F .bed/ssh_config -l ops -t {{ host }} sudo -u postgres psql {{ database }}

# measurements: just bench noop | memory | data | deploy
bench what *args:
    @python -m tests.bench {{ what }} {{ args }}

# the collection as it ships
build:
    @ansible-galaxy collection build --force
