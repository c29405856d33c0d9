"""SIGHUP and TLS, in processes: files that are read again while clients go on."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.cli.test_cli import FLOW, assert_one_line, run
from tests.conftest import ServerProcess, StartServer
from tests.harness.certificates import certificate
from tests.harness.spawning import COMMAND
from tests.harness.waiting import until
from workflow_server.web.access.token_file import add_token, revoke_token


def served_certificate(server: ServerProcess) -> str:
    return ssl.get_server_certificate(("127.0.0.1", server.port), timeout=30)


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows.py"
    path.write_text(FLOW)
    return path


@pytest.mark.slow(10)
async def test_a_renewed_certificate_is_served_after_a_hangup(
    flows: Path, tmp_path: Path, start_server: StartServer
) -> None:
    pair, (newer, newer_key) = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    cert, key = pair
    old = cert.read_text()
    server = start_server(flows, "--tls-cert", str(cert), "--tls-key", str(key))
    assert server.url.startswith("https://")
    assert served_certificate(server) == old
    async with ClientSession(server.url) as client:
        context = pair.trusting()
        async with client.post("/workflows/flow/run", ssl=context) as response:
            assert (response.status, (await response.json())["status"]) == (200, "completed")
            handler_id = (await response.json())["handler_id"]
        async with client.get(f"/events/{handler_id}", ssl=context) as response:
            assert "StopEvent" in await response.text()
        # A pair that does not belong together is told, and the old one stays.
        cert.write_text(newer.read_text())
        server.process.send_signal(signal.SIGHUP)
        await until(lambda: "they do not belong together" in server.log.read_text(), "the wrong pair is not told")
        assert "The certificate of before stays." in server.log.read_text()
        assert await asyncio.to_thread(served_certificate, server) == old
        key.write_text(newer_key.read_text())
        server.process.send_signal(signal.SIGHUP)
        await until(lambda: "Read the TLS certificate again" in server.log.read_text(), "nothing is read again")
        assert await asyncio.to_thread(served_certificate, server) == newer.read_text()
        # A connection that is open goes on.
        async with client.get("/health", ssl=context) as response:
            assert response.status == 200
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow(10)
def test_less_than_tls_1_2_and_plain_http_are_refused(flows: Path, tmp_path: Path, start_server: StartServer) -> None:
    pair = certificate(tmp_path, "old")
    server = start_server(flows, "--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    for option, version in (("-tls1_1", None), ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        address = ("-connect", f"127.0.0.1:{server.port}")
        command = ("openssl", "s_client", *address, "-cipher", "ALL:@SECLEVEL=0", option)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert (done.returncode == 0) == (version is not None), done.stdout
        assert version is None or version in done.stdout
    with socket.create_connection(("127.0.0.1", server.port), 30) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"healthy" not in plain.recv(1_000)
    with urllib.request.urlopen(f"{server.url}/health", context=pair.trusting(), timeout=30) as response:
        assert response.status == 200
    assert server.stop() == 0


@pytest.mark.slow(20)
def test_a_wrong_pair_at_the_start_is_one_line(flows: Path, tmp_path: Path) -> None:
    (cert, key), (_, other) = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    wrong: list[tuple[list[str], str]] = [
        (["--tls-cert", str(cert), "--tls-key", str(other)], "do not belong together"),
        (["--tls-cert", str(key), "--tls-key", str(cert)], "expected two PEM files"),
        (["--tls-cert", str(cert), "--tls-key", "none"], "No such file"),
        (["--tls-cert", str(cert)], "belong together: set both"),
        (["--token-file", "none"], "No such file"),
        (["--trusted-proxy", "localhost"], "'trusted_proxies'"),
    ]
    for options, said in wrong:
        assert_one_line(run("serve", str(flows), "--port", "0", *options, cwd=tmp_path), said)


@pytest.mark.slow(10)
async def test_hangups_under_load_refuse_no_valid_token(flows: Path, tmp_path: Path, start_server: StartServer) -> None:
    file = tmp_path / "tokens"
    kept, going = add_token(file, "kept", "run"), add_token(file, "going", "run")
    server = start_server(flows, "--token-file", str(file))
    statuses: list[int] = []

    async def call(client: ClientSession) -> None:
        headers = {"Authorization": f"Bearer {kept}"}
        for _ in range(25):
            async with client.post("/workflows/flow/run", headers=headers) as response:
                statuses.append(response.status)

    async with ClientSession(server.url) as client:
        calls = [asyncio.create_task(call(client)) for _ in range(8)]
        for number in range(30):
            add_token(file, f"team-{number}", "read")
            server.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0)
        revoke_token(file, "going")
        server.process.send_signal(signal.SIGHUP)
        await asyncio.gather(*calls)
        assert statuses == [200] * 200
        # The last change was made before the last signal.
        await until(lambda: "31 tokens are known" in server.log.read_text(), "the last change is not read")
        async with client.get("/workflows", headers={"Authorization": f"Bearer {going}"}) as response:
            assert response.status == 401
    assert server.stop() == 0


def test_without_files_a_hangup_ends_the_server_as_before(flows: Path, start_server: StartServer) -> None:
    # These tests may themselves run under nohup, whose children ignore it.
    server = start_server(flows, command=("env", "--default-signal=HUP", *COMMAND))
    server.process.send_signal(signal.SIGHUP)
    assert server.process.wait(30) == -signal.SIGHUP
