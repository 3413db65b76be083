# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: documentation shared by the modules of Compose projects."""

from __future__ import annotations


class ModuleDocFragment:
    """Where a project is on the host."""

    DOCUMENTATION = r"""
options:
  project:
    description: Name of the project.
    type: str
    required: true
  base_dir:
    description: Directory of the projects' files.
    type: path
    default: /var/lib/sapflux/app
  run_dir:
    description: Directory, in memory, of the secrets that containers read.
    type: path
    default: /run/sapflux/app
  upstream_dir:
    description: Directory of the files that tell Caddy where the services are, one for each, called C(project-service).
    type: path
    default: /etc/sapflux/upstreams
  docker_socket:
    description: Socket of the Docker engine.
    type: path
    default: /run/docker.sock
requirements:
  - Docker engine with the Compose plugin on the target.
"""
