"""A little token endpoint: an OpenID provider as far as `client_credentials` goes, with the keys that brokers check."""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pipeline.embedded.child import LOOPBACK

AUDIENCE, ISSUER = "kafka", "https://id.example"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class TokenServer:
    """Gives tokens to the clients that it knows. Use it as a context."""

    def __init__(self, clients: Mapping[str, str], certificate: tuple[Path, Path] | None = None) -> None:
        """`clients` by their ids, each with its secret. With a certificate and its key it speaks TLS."""
        self.asked: list[dict[str, str]] = []
        """The form of each request that was answered with a token."""
        self.life_s = 300.0
        self.claims: dict[str, Any] = {}
        """What tokens hold besides, or otherwise."""
        self.broken: tuple[int, bytes] | None = None
        """Status and body of every answer, while it is set."""
        self.headers: dict[str, str] = {}
        self.pause_s = 0.0
        self._logins = {
            "Basic " + base64.b64encode(f"{quote_plus(id)}:{quote_plus(secret)}".encode()).decode(): id
            for id, secret in clients.items()
        }
        self._key = rsa.generate_private_key(65_537, 2_048)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://{LOOPBACK}:{self._server.server_address[1]}/token"

    def __enter__(self) -> TokenServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """As it was at first."""
        self.life_s, self.claims, self.broken, self.headers, self.pause_s = 300.0, {}, None, {}, 0.0
        self.asked.clear()

    def jwks(self) -> bytes:
        """Its public key, as brokers read it."""
        public = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": "1",
            "use": "sig",
            "alg": "RS256",
            "n": _number(public.n),
            "e": _number(public.e),
        }
        return orjson.dumps({"keys": [key]})

    def token(self, client: str) -> str:
        """A signed JSON Web Token for a client."""
        now_s = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": client,
            "iat": int(now_s),
            "exp": int(now_s + self.life_s),
        }
        parts = ({"alg": "RS256", "kid": "1", "typ": "JWT"}, {**claims, "scope": "events", **self.claims})
        signed = ".".join(_base64(orjson.dumps(part)) for part in parts)
        return f"{signed}.{_base64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                time.sleep(server.pause_s)
                status, body = server.broken or server.answer(self.headers["Authorization"], form)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **server.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler

    def answer(self, login: str | None, form: Mapping[str, list[str]]) -> tuple[int, bytes]:
        """Status and body."""
        client = self._logins.get(login or "")
        if client is None:
            return 401, b'{"error":"invalid_client","error_description":"unknown client or wrong secret"}'
        if form.get("grant_type") != ["client_credentials"]:
            return 400, b'{"error":"unsupported_grant_type"}'
        self.asked.append({name: values[0] for name, values in form.items()})
        answer = {"access_token": self.token(client), "token_type": "Bearer", "expires_in": int(self.life_s)}
        return 200, orjson.dumps(answer)
