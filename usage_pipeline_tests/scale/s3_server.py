"""An S3 server on loopback, as a program of its own: moto's, which holds all objects in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Quiet(WSGIRequestHandler):
    def log(self, *_said: Any) -> None:
        pass


def main() -> None:
    """Serve until killed; the first line of the output is the port."""
    moto = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()

    def decided(environment: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        # S3 decides of two conditional writes at once that one was first. moto looks, and then writes.
        with one_at_a_time:
            return moto(environment, respond)  # type: ignore[no-any-return]

    server = make_server("127.0.0.1", 0, decided, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
