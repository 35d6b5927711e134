"""A synchronous client of the configuration API.

For the command line, the lab and tests: imports fast, needs no event loop, and turns statuses
back into the errors of the house. Not thread safe; one per thread.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, NamedTuple, Self

from filament.base.errors import TransientError
from filament.client.connection import BrokenAnswerError, Response
from filament.client.http import connection_to, error_of, quoted, reason_of, with_query
from filament.client.trust import NO_TRUST, Trust

Items = list[dict[str, Any]]  # the class below has a method called list
FqName = list[str]


class Answer(NamedTuple):
    """What the API answered. `revision` is the commit of a write (0 for reads); `lagging` names
    who had not applied it when a `wait` ran out.
    """

    value: Any
    revision: int = 0
    lagging: str = ""


class Client:
    """One connection, kept open. `address` is `http(s)://host:port` or `unix:/path`."""

    def __init__(
        self, address: str, *, timeout_s: float = 30.0, who: str = "", trust: Trust = NO_TRUST
    ) -> None:
        self._address = address
        self._headers = {"Content-Type": "application/json", **trust.headers()}
        if who:
            self._headers["X-Contrail-Useragent"] = who
        self._timeout_s = timeout_s
        self._connection = connection_to(address, timeout_s, trust)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    # -- typed verbs -------------------------------------------------------------------------

    def create(self, kind: str, fq_name: FqName, /, *, wait: str = "", **fields: Any) -> str:
        """Create an object and return its uuid; `fields` are properties, refs, parent_type."""
        body = {kind: {"fq_name": fq_name, **fields}}
        uuid: str = self.request("POST", f"/{kind}s", body, wait=wait).value[kind]["uuid"]
        return uuid

    def get(self, kind: str, uuid: str, /, **query: str) -> dict[str, Any]:
        """Read an object; `query` as in `fields="display_name"`, `exclude_children="1"`."""
        value: dict[str, Any] = self.request("GET", f"/{kind}/{quoted(uuid)}", **query).value[kind]
        return value

    def list(self, kind: str, /, **query: str) -> Items:
        """List a collection; with `detail="true"` whole objects."""
        listed = self.request("GET", f"/{kind}s", **query).value[f"{kind}s"]
        return [item.get(kind, item) for item in listed] if "detail" in query else listed

    def update(self, kind: str, uuid: str, /, *, wait: str = "", **fields: Any) -> Answer:
        """Change the named fields; None removes a property, a refs field is the whole new list."""
        return self.request("PUT", f"/{kind}/{quoted(uuid)}", {kind: fields}, wait=wait)

    def delete(self, kind: str, uuid: str, *, wait: str = "") -> Answer:
        """Delete an object."""
        return self.request("DELETE", f"/{kind}/{quoted(uuid)}", wait=wait)

    def uuid_of(self, kind: str, fq_name: FqName) -> str:
        """The uuid of a named object (`/fqname-to-id`)."""
        answer = self.request("POST", "/fqname-to-id", {"type": kind, "fq_name": fq_name})
        uuid: str = answer.value["uuid"]
        return uuid

    def name_of(self, uuid: str) -> tuple[str, FqName]:
        """Kind and fq_name of an object (`/id-to-fqname`)."""
        value = self.request("POST", "/id-to-fqname", {"uuid": uuid}).value
        return value["type"], value["fq_name"]

    def add_ref(
        self, kind: str, uuid: str, target: str, target_uuid: str, attr: Any = None
    ) -> Answer:
        """Add a reference, or overwrite its attribute."""
        return self._update_ref("ADD", kind, uuid, target, target_uuid, attr)

    def remove_ref(self, kind: str, uuid: str, target: str, target_uuid: str) -> Answer:
        """Remove a reference."""
        return self._update_ref("DELETE", kind, uuid, target, target_uuid, None)

    def _update_ref(
        self, operation: str, kind: str, uuid: str, target: str, target_uuid: str, attr: Any
    ) -> Answer:
        body = {
            "type": kind,
            "uuid": uuid,
            "ref-type": target,
            "ref-uuid": target_uuid,
            "operation": operation,
            "attr": attr,
        }
        return self.request("POST", "/ref-update", body)

    # -- requests ----------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        """Send one request; empty query values are left out. Raises the errors of the house."""
        wanted = {name: value for name, value in query.items() if value}
        target = with_query(path, wanted)
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        response = self._exchange(method, target, content)
        if response.status not in {200, 202}:
            raise error_of(response.status, response.content.decode(errors="replace"))
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        return Answer(
            json.loads(response.content)
            if kind == "application/json"
            else response.content.decode(errors="replace"),
            int(response.headers.get("x-filament-revision") or 0),
            response.headers.get("x-filament-wait", "").removeprefix("timeout; waiting for "),
        )

    def _exchange(self, method: str, target: str, content: bytes | None) -> Response:
        if self._connection.has_ended:
            self._connection.close()  # it was idle for too long: nothing has been sent yet
        was_open = self._connection.is_open
        try:
            return self._connection.request(method, target, content, self._headers)
        except ConnectionError as error:
            # A kept connection may have been closed by a restarted server; only reads are safe
            # to repeat, a write may have been carried out.
            if was_open and method == "GET":
                return self._retry(method, target, content)
            raise self._unreachable(error) from error
        except (OSError, BrokenAnswerError) as error:
            raise self._unreachable(error) from error

    def _retry(self, method: str, target: str, content: bytes | None) -> Response:
        try:
            return self._connection.request(method, target, content, self._headers)
        except (OSError, BrokenAnswerError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: OSError | BrokenAnswerError) -> TransientError:
        reason = reason_of(error, self._timeout_s)
        return TransientError(
            f"the API at {self._address} does not answer ({reason}); is it running?"
        )
