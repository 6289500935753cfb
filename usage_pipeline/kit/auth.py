"""How credentials reach a vendor: always in a header, never in an address."""

from __future__ import annotations

import threading
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import httpx

from usage_pipeline.contract.errors import CredentialsError, RequestError, TransientError
from usage_pipeline.contract.time import Clock
from usage_pipeline.kit.http import asked_wait, retriable

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class HeaderAuth(httpx.Auth):
    """One header with one value."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._name] = self._value
        yield request


def header(name: str, value: str) -> httpx.Auth:
    return HeaderAuth(name, value)


def bearer(token: str) -> httpx.Auth:
    return HeaderAuth("Authorization", f"Bearer {token}")


def basic(user: str, password: str) -> httpx.Auth:
    return httpx.BasicAuth(user, password)


class ClientCredentials(httpx.Auth):
    """OAuth2 client credentials with OpenID discovery, for synchronous clients.

    The token is shared by all requests, renewed when a tenth of its life is left (30 s at most, so that a token of
    60 s is not renewed at every call), and once more when the vendor answers 401.
    Raises CredentialsError where the token is refused, RequestError where discovery leads nowhere, TransientError
    where either may work later.
    """

    def __init__(self, discovery: str, client_id: str, client_secret: str, clock: Clock) -> None:
        self._discovery = discovery
        self._form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at: datetime | None = None

    # Not `auth_flow`, which httpx wraps: this one is closed, and so the lock freed, when a request fails.
    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = yield from self._current(request, stale=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response.read()  # gives its connection back before another thread may be waited for
            token = yield from self._current(request, stale=token)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    def _current(self, request: httpx.Request, stale: str | None) -> Generator[httpx.Request, httpx.Response, str]:
        """The shared token; `stale` is one that the vendor no longer accepts."""
        with self._lock:
            asked_at = self._clock()
            if self._renew_at is None or asked_at >= self._renew_at or self._token == stale:
                self._token, life = yield from self._grant(request)
                self._renew_at = asked_at + life - min(life / 10, timedelta(seconds=30))
            return self._token

    def _grant(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, tuple[str, timedelta]]:
        """A new token and its life, asked for within the bounds of the request that needs it."""
        headers = {"Accept": "application/json", "User-Agent": request.headers.get("User-Agent", "")}
        found = yield httpx.Request("GET", self._discovery, headers=headers, extensions=request.extensions)
        endpoint = self._trusted(self._body(found).get("token_endpoint"), found)
        granted = yield httpx.Request("POST", endpoint, data=self._form, headers=headers, extensions=request.extensions)
        body = self._body(granted)
        token = body.get("access_token")
        if granted.is_success and isinstance(token, str) and _fits_header(token):
            return token, _life(body)
        told = ", ".join(str(body[key]) for key in ("error", "error_description") if body.get(key))
        for secret in (self._form["client_secret"], self._form["client_id"]):
            # Some repeat the form as it was sent.
            for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                told = told.replace(form, "***") if form else told
        said = told[:300] or "no reason given"
        raise CredentialsError(f"{granted.url} gave no access_token: status {granted.status_code}, {said}")

    def _body(self, response: httpx.Response) -> dict[str, Any]:
        """An answer's JSON object; empty where it is something else."""
        response.read()
        if retriable(response.status_code):
            busy = TransientError(f"{response.url} answered {response.status_code}")
            busy.wait = asked_wait(response.headers, {}, self._clock())
            raise busy
        try:
            body = response.json()
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    def _trusted(self, told: Any, found: httpx.Response) -> httpx.URL:
        """Where the secret may be sent: over https, or within this machine where discovery was there too."""
        if not found.is_success or not isinstance(told, str):
            raise RequestError(
                f"{self._discovery} names no token_endpoint: status {found.status_code}. Correct base_url"
            )
        try:
            endpoint = httpx.URL(told)
        except httpx.InvalidURL:
            endpoint = httpx.URL()
        local = {endpoint.host, found.url.host} <= LOOPBACK
        if endpoint.host and (endpoint.scheme == "https" or (endpoint.scheme == "http" and local)):
            return endpoint
        raise CredentialsError(f"{self._discovery} names the token endpoint {told[:200]}, which is not https")


def _fits_header(value: str) -> bool:
    return value != "" and value.isascii() and value.isprintable() and value == value.strip()


def _life(body: dict[str, Any]) -> timedelta:
    """An hour where the answer does not tell; at most a day, whatever it tells."""
    try:
        return timedelta(seconds=min(max(float(body.get("expires_in", 3600)), 0), 86400))
    except OverflowError:
        return timedelta(days=1)
    except (TypeError, ValueError):
        return timedelta(hours=1)
