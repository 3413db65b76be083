"""Secrets sealed by the Doppler CLI, which is scripted here; molecule/secrets has the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_doppler as subject
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_doppler import Doppler, Ended, Source
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import DeployError

from .doppler_cli import TOKEN, VALUES, Cli

KEY = b"k" * 32


def doppler(tmp_path: Path, cli: Cli) -> Doppler:
    return Doppler(KEY, tmp_path, cli)


def test_secrets_are_sealed_and_opened_as_the_container_will(tmp_path: Path) -> None:
    cli = Cli()
    sealed = doppler(tmp_path, cli).fetch("api", Source(TOKEN, api_host="https://doppler.example"))
    assert (sealed.values, sealed.fresh) == (VALUES, True)
    (seal, seal_env, seal_config, mode), (opened, open_env, open_config, _mode) = cli.seen
    assert seal_config["scoped"] == {"/": {"token": TOKEN, "api-host": "https://doppler.example"}}
    assert seal_env["DOPPLER_PASSPHRASE"] == subject.passphrase(KEY)
    assert mode == 0o700
    assert opened[1:-2] == subject.arguments(opened[4].partition("=")[2])
    assert open_env == {"HOME": "/"}
    assert open_config["scoped"] == {"/": {"token": subject.passphrase(KEY), "api-host": "http://127.0.0.1:9"}}
    for words, environment in ((seal, seal_env), (opened, open_env)):
        assert TOKEN not in str(words) + str(environment)
    assert subject.passphrase(KEY) not in str(seal) + str(opened)


def test_nothing_is_left_in_the_scratch_directory(tmp_path: Path) -> None:
    cli = Cli()
    doppler(tmp_path, cli).fetch("api", Source(TOKEN))
    cli.seal = cli.refuse
    with pytest.raises(DeployError):
        doppler(tmp_path, cli).fetch("api", Source(TOKEN))
    assert list(tmp_path.iterdir()) == []


def test_services_of_one_config_share_one_request(tmp_path: Path) -> None:
    cli = Cli()
    one = doppler(tmp_path, cli)
    assert one.fetch("api", Source(TOKEN)) is one.fetch("web", Source(TOKEN))
    one.fetch("web", Source(TOKEN, ("A",)))
    assert [("--only-secrets=A" in words) for words, *_rest in cli.seen] == [False, False, True, False]


def test_a_mark_follows_the_values_and_not_their_order_or_the_salt(tmp_path: Path) -> None:
    first = doppler(tmp_path, Cli()).fetch("api", Source(TOKEN))
    same = subject.Sealed(dict(reversed(VALUES.items())), b"another salt")
    assert first.mark(KEY) == same.mark(KEY)
    assert first.mark(KEY) != subject.Sealed({**VALUES, "A": "b"}, b"").mark(KEY)
    assert first.mark(KEY) != first.mark(b"another host")


def test_a_refused_token_says_the_way_out_and_shows_nothing(tmp_path: Path) -> None:
    cli = Cli()
    cli.seal = cli.refuse
    with pytest.raises(DeployError) as caught:
        doppler(tmp_path, cli).fetch("api", Source(TOKEN), b"sealed:[0, {}]")
    text = str(caught.value)
    assert text.startswith(
        "service api: Doppler refuses its token: Invalid Service token ********. Nothing was changed"
    )
    assert "Make a new service token" in text
    assert "x" * 40 not in text


def test_an_outage_keeps_the_secrets_that_serve(tmp_path: Path) -> None:
    cli = Cli()
    cli.seal = cli.silent
    sealed = doppler(tmp_path, cli).fetch("api", Source(TOKEN), b'sealed:[0, {"A": "the last"}]')
    assert (sealed.values, sealed.content, sealed.fresh) == ({"A": "the last"}, b'sealed:[0, {"A": "the last"}]', False)


def test_an_outage_before_the_first_release_is_refused(tmp_path: Path) -> None:
    cli = Cli()
    cli.seal = cli.silent
    with pytest.raises(DeployError) as caught:
        doppler(tmp_path, cli).fetch("api", Source(TOKEN))
    assert "Doppler does not answer, and no release has served" in str(caught.value)
    assert "connection refused" in str(caught.value)
    assert "More Info" not in str(caught.value)


def test_a_missing_name_is_named(tmp_path: Path) -> None:
    cli = Cli()

    def lacking(sealed: Path) -> Ended:
        sealed.write_bytes(b"sealed:[0, {}]")
        told = "Doppler Error: the following secrets you are trying to include do not exist in your config:\n- NOPE\n"
        return Ended(1, b"", told)

    cli.seal = lacking
    with pytest.raises(DeployError, match=r"do not exist in your config: - NOPE\. Nothing was changed"):
        doppler(tmp_path, cli).fetch("api", Source(TOKEN, ("NOPE",)))


@pytest.mark.parametrize("token", ["", "dp.st.prd.a b", "hvs.token", "dp.scim." + "x" * 40])
def test_what_is_no_token_is_sent_nowhere(tmp_path: Path, token: str) -> None:
    cli = Cli()
    with pytest.raises(DeployError, match="its token is no token of Doppler"):
        doppler(tmp_path, cli).fetch("api", Source(token))
    assert cli.seen == []


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"nowhere/doppler is not there; name the program in artifacts\.doppler"):
        Doppler(KEY, tmp_path, cli="/nowhere/doppler").fetch("api", Source(TOKEN))


def test_a_cli_that_cannot_open_what_it_sealed_is_found_before_a_container_starts(tmp_path: Path) -> None:
    class Newer(Cli):
        def __call__(self, argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> Ended:
            ended = super().__call__(argv, environment, timeout)
            return Ended(1, b"", "Doppler Error: invalid passphrase\n") if "--fallback-only" in argv else ended

    with pytest.raises(DeployError, match="cannot open what it sealed: invalid passphrase"):
        doppler(tmp_path, Newer()).fetch("api", Source(TOKEN))


def test_neither_token_nor_values_are_in_a_repr() -> None:
    told = repr(Source(TOKEN)) + repr(subject.Sealed(VALUES, b"marker-content"))
    assert TOKEN not in told
    assert "marker" not in told


def test_a_program_that_hangs_is_stopped() -> None:
    ended = subject.run_cli(["/bin/sleep", "20"], {}, 0.1)
    assert ended.rc == 124
    assert "no answer" in ended.errors
