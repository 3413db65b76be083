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

# one role's scenario (or all): just molecule postgres
molecule *scenario:
    @python -m tests.gate molecule {{ scenario }}

# end-to-end tests of the whole document on real hosts
site *args:
    @pytest tests/site {{ args }}

# build the pinned programs (caddy, minio, registry)
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

# one screen: versions, units, disk, memory, certificate, archive lag, last backup
status *args:
    @ansible-playbook playbooks/status.yml {{ args }}

# a base backup now
backup *args:
    @ansible-playbook playbooks/backup.yml {{ args }}

# the newest backup, restored beside the live data
restore *args:
    @ansible-playbook playbooks/restore.yml {{ args }}

# an SSH prompt on a host of the demo
ssh host="demo":
    @ssh -F .bed/ssh_config -l ops {{ host }}

# a psql prompt on the demo's database
psql database="app" host="demo":
    @ssh -F .bed/ssh_config -l ops -t {{ host }} sudo -u postgres psql {{ database }}

# measurements: just bench noop | memory
bench what *args:
    @python -m tests.bench {{ what }} {{ args }}

# the collection as it ships
build:
    @ansible-galaxy collection build --force
