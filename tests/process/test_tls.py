"""GATEWAY_TLS_CERT and GATEWAY_TLS_KEY: HTTPS, HTTP/2 by ALPN, a renewed certificate by SIGHUP."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.serve_process import ServeProcess, until

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def write_pair(directory: Path, name: str = "localhost") -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1 and its key; their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(addresses, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(cert_path), str(key_path)


def connect(port: int, cert: str, *protocols: str, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=cert)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname="127.0.0.1")


@pytest.mark.parametrize(("offered", "chosen"), [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)])
def test_alpn_chooses_http2_if_the_client_can(tmp_path: Path, offered: tuple[str, ...], chosen: str | None) -> None:
    cert, key = write_pair(tmp_path)
    with ServeProcess.tiny(tmp_path, "ok", cert, key, workers=1) as gateway:
        gateway.wait_up()
        with connect(gateway.port, cert, *offered) as client:
            assert client.selected_alpn_protocol() == chosen
            if chosen != "h2":
                client.sendall(REQUEST)
                assert client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_current_versions_of_tls_are_served(tmp_path: Path, version: ssl.TLSVersion) -> None:
    cert, key = write_pair(tmp_path)
    with ServeProcess.tiny(tmp_path, "ok", cert, key, workers=1) as gateway:
        gateway.wait_up()
        with connect(gateway.port, cert, version=version) as client:
            client.sendall(REQUEST)
            assert client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="nghttp is not installed (apt: nghttp2-client)")
def test_a_request_over_http2(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path)
    with ServeProcess.tiny(tmp_path, "ok", cert, key, workers=1) as gateway:
        gateway.wait_up()
        url = f"https://127.0.0.1:{gateway.port}/"
        done = subprocess.run(["nghttp", "--no-verify-peer", url], capture_output=True, timeout=10, check=True)
        assert b'"http": "2"' in done.stdout


def test_a_renewed_certificate_is_taken_over_by_sighup(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path)
    with ServeProcess.tiny(tmp_path, "ok", cert, key) as gateway:
        before = gateway.wait_up()
        with connect(gateway.port, cert) as client:
            old = client.getpeercert(binary_form=True)
        write_pair(tmp_path)
        gateway.tell(signal.SIGHUP)
        until(lambda: len(p := gateway.pids()) == 2 and not p & before, 15, "all are new")
        with connect(gateway.port, cert) as client:
            assert client.getpeercert(binary_form=True) != old
            client.sendall(REQUEST)
            assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_handshakes_under_way_survive_a_reload(tmp_path: Path) -> None:
    """Distant clients: 100 ms pass between connection, handshake and request, while workers are replaced."""
    cert, key = write_pair(tmp_path)
    with ServeProcess.tiny(tmp_path, "ok", cert, key, workers=1) as gateway:
        before = gateway.wait_up()
        outcomes: list[bytes] = []

        def run() -> None:
            context = ssl.create_default_context(cafile=cert)
            while before & gateway.pids():
                plain = socket.create_connection(("127.0.0.1", gateway.port), 5)
                time.sleep(0.05)
                try:
                    with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                        time.sleep(0.05)
                        client.sendall(REQUEST)
                        outcomes.append(client.recv(12))
                except OSError as error:
                    outcomes.append(repr(error).encode())

        threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        gateway.tell(signal.SIGHUP)
        for thread in threads:
            thread.join(20)
        assert len(outcomes) > 30
        assert set(outcomes) == {b"HTTP/1.1 200"}


def test_a_pair_that_does_not_fit_stops_the_start(tmp_path: Path) -> None:
    cert, _ = write_pair(tmp_path)
    (other := tmp_path / "other").mkdir()
    _, key = write_pair(other)
    with ServeProcess.serve(tmp_path, GATEWAY_TLS_CERT=cert, GATEWAY_TLS_KEY=key) as gateway:
        assert gateway.process.wait(15) == 1
        assert "GATEWAY_TLS_KEY" in gateway.log
        assert "Traceback" not in gateway.log
