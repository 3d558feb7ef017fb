"""Certificates for a broker of loopback, one of which has expired."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pipeline.embedded.child import LOOPBACK
from tests.support.services import Unavailable

_LONG_AGO, _AGO, _IN_YEARS = "20240101000000Z", "20240201000000Z", "20491231000000Z"
# `openssl req` takes no dates before version 3.4; `openssl ca` always has.
_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
subjectAltName = IP:{address}
basicConstraints = CA:TRUE
"""


def certificate(folder: Path, *, has_expired: bool) -> tuple[Path, Path]:
    """Makes one that signs itself; the file that clients trust, and the store of the broker (PEM).

    Blocks. Unavailable without openssl.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise Unavailable("openssl is not installed, which makes the certificates")
    folder.mkdir()
    config, key, request, trusted, store = (
        folder / name for name in ("config", "key.pem", "request.pem", "cert.pem", "store.pem")
    )
    config.write_text(_CONFIG.format(folder=folder, address=LOOPBACK))
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    for command in (
        ("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", str(key), "-out", str(request)),
        ("ca", "-batch", "-notext", "-selfsign", "-config", str(config), "-keyfile", str(key), "-startdate",
         _LONG_AGO, "-enddate", _AGO if has_expired else _IN_YEARS, "-in", str(request), "-out", str(trusted)),
    ):  # fmt: skip
        subprocess.run([openssl, *command], check=True, capture_output=True)
    store.write_text(key.read_text() + trusted.read_text())
    return trusted, store
