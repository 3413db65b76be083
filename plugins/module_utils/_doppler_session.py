# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins that read from Doppler on the controller do alike (private to this collection)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import Doppler, DopplerError, login
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler_cache import Cache, Download


def download(options: Mapping[str, Any], folder: str) -> Download:
    """The secrets of a config, asked for once in a run, whose folder is ``folder``.

    ``options`` are those that the lookup documents: token, project, config, base_url, oidc_identity, oidc_token, only,
    fresh. Raises :class:`DopplerError` where they do not say enough, or Doppler refuses.
    """
    token, identity, proof = (str(options[name] or "") for name in ("token", "oidc_identity", "oidc_token"))
    if identity and not proof:
        raise DopplerError("oidc_identity needs oidc_token, the token that the CI job has of its platform")
    if not identity and not token:
        raise DopplerError("there is no token of Doppler: give token, or set DOPPLER_TOKEN")
    if identity and not (options["project"] and options["config"]):
        raise DopplerError("an identity sees more than one config: give both project and config")
    project, config, base = options["project"] or "", options["config"] or "", options["base_url"]
    only = sorted(set(options["only"]))

    def fetch(known: Download | None) -> Download:
        bearer = login(identity, proof, base) if identity else token
        values, etag = Doppler(bearer, project, config, base).download(only, known.etag if known else "")
        if values is None and known is not None:
            return known
        return Download(values or {}, etag)

    return Cache(folder, (base, identity, project, config, *only), proof or token).get(fetch, options["fresh"])
