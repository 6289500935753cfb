"""Those who are alerted, on loopback: a webhook over HTTP, and a mail server with STARTTLS and passwords."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

PATH = "/services/T000/B000/hook-secret"


@dataclass
class Hook:
    """A webhook. It answers with `answers`, one a request, then 200; `texts` has what it took, `asked` counts all."""

    answers: list[Response] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    asked: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route(PATH, self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        self.asked += 1
        if self.answers:
            return self.answers.pop(0)
        body: dict[str, Any] = await request.json()
        assert list(body) == ["text"]
        self.texts.append(body["text"])
        return PlainTextResponse("ok")


@dataclass
class Post:
    """A mail server: what it asks for and what it took. `refusals` are answers to a recipient, one a mail."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    password: str | None = None
    refusals: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def converse(self, server: Talk) -> None:
        """One session, as RFC 5321, 3207 and 4954 have it."""
        server.say("220 post.test ready")
        encrypted = self.implicit
        while heard := server.hear():
            self.said.append(heard)
            verb = heard.partition(" ")[0].upper()
            if verb == "EHLO":
                offers = ["STARTTLS"] if self.tls and not encrypted else ["AUTH PLAIN"] if self.password else []
                server.say(*(f"250-{offer}" for offer in ("post.test", *offers)), "250 SIZE 100000")
            elif verb == "STARTTLS" and self.tls:
                server.say("220 go ahead")
                server.encrypt(self.tls)
                encrypted = True
            elif verb == "AUTH":
                given = base64.b64decode(heard.split()[-1]).decode().split("\0")[-1]
                server.say("235 welcome" if given == self.password else "535 5.7.8 who are you?")
            elif verb == "RCPT" and self.refusals:
                server.say(self.refusals.pop(0))
            elif verb == "DATA":
                server.say("354 go ahead")
                text = server.hear_mail()
                self.mails.append(email.message_from_bytes(text, EmailMessage, policy=email.policy.default))
                server.say("250 taken")
            elif verb == "QUIT":
                server.say("221 bye")
                return
            else:
                server.say("250 fine")


class Talk(socketserver.StreamRequestHandler):
    """The lines of one connection."""

    post: Post

    def handle(self) -> None:
        try:
            if self.post.tls and self.post.implicit:
                self.encrypt(self.post.tls)
            self.post.converse(self)
        except OSError:
            # Who does not trust the certificate hangs up.
            return
        finally:
            self.rfile.close()
            self.connection.close()

    def encrypt(self, tls: ssl.SSLContext) -> None:
        self.connection = tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")

    def say(self, *lines: str) -> None:
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        return self.rfile.readline().decode().strip()

    def hear_mail(self) -> bytes:
        return b"".join(iter(self.rfile.readline, b".\r\n"))


@contextmanager
def receiving(post: Post) -> Iterator[int]:
    """Serve the mail server on a free port of loopback; yields the port."""
    handler = type("Connection", (Talk,), {"post": post})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)
